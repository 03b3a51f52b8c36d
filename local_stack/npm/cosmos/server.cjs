/**
 * @vercel/cosmosdb-server with what it lacks or does differently from Cosmos DB, and nothing else of ours: databases,
 * containers, etags, resource ids and the SQL engine with its check of composite indexes are the package's.
 *
 *   node server.cjs PORT        prints `ready PORT`; POST /_emulator/advance?s=SECONDS moves its clock forward
 */
"use strict";

const { createHash } = require("crypto");
const { Readable } = require("stream");

const PACKAGE = "@vercel/cosmosdb-server/lib";
const readJson = require(`${PACKAGE}/json`).default;
const operations = require(`${PACKAGE}/handler/_document-operations`);
const handlers = Object.fromEntries(
  ["batch-documents", "create-document", "delete-document", "query-documents", "read-document", "read-documents",
    "replace-document", "upsert-document"].map((name) => [name, require(`${PACKAGE}/handler/${name}`)]),
);

const MAX_OPERATIONS = 100;
const MAX_BATCH_BYTES = 2 * 1024 * 1024;
const ABSENT = { code: "NotFound", message: "Entity with the specified id does not exist in the system." };

let advancedMs = 0;
const realNow = Date.now;
Date.now = () => realNow() + advancedMs;

/**
 * "If any operation fails, the entire transaction is rolled back"; the failed operation has the status of its
 * error, "all the other operations will have a 424 status code"; up to 100 operations and 2 MB.
 * (learn.microsoft.com/azure/cosmos-db/nosql/transactional-batch.) The answer to a failed batch is 207: the .NET SDK
 * takes the status of the failed operation from the body then (azure-cosmos-dotnet-v3, TransactionalBatchResponse),
 * and the Python SDK reads the body of any status below 400 (_cosmos_client_connection.Batch).
 * The package keeps what succeeded before the failure, and cannot delete: it looks for the partition in the operation.
 */
async function batch(account, request, response, { dbId, collId }) {
  const collection = account.database(dbId).collection(collId);
  const partitionKey = request.headers["x-ms-documentdb-partitionkey"];
  const requested = await readJson(request);
  if (!collection.read()) return answer(response, 404, ABSENT);
  if (requested.length > MAX_OPERATIONS) return answer(response, 400, badRequest("too many operations"));
  if (Number(request.headers["content-length"]) > MAX_BATCH_BYTES) {
    return answer(response, 413, { code: "RequestEntityTooLarge", message: "Request size is too large" });
  }
  const { documents } = collection;
  const before = [new Map(documents._data), new Map(documents._index)];
  const results = [];
  for (const operation of requested) {
    const result = apply(collection, { ...operation, partitionKey });
    const { statusCode, body } = result;
    results.push({ statusCode, eTag: body?._etag, resourceBody: body, requestCharge: 1 });
    if (result.statusCode >= 400) {
      [documents._data, documents._index] = before;
      const failed = results.length - 1;
      const others = { statusCode: 424, requestCharge: 0 };
      return answer(response, 207, requested.map((_, n) => (n === failed ? results[n] : others)));
    }
  }
  return results;
}

function apply(collection, operation) {
  // "group of point operations with the same partition key" (same page).
  const [path] = collection.read().partitionKey.paths;
  const [partition] = JSON.parse(operation.partitionKey);
  if (operation.resourceBody && operation.resourceBody[path.slice(1)] !== partition) {
    return { statusCode: 400, body: badRequest("not of the batch's partition") };
  }
  const run = operations[`${operation.operationType.toLowerCase()}Operation`];
  return run ? run(collection, operation) : { statusCode: 400, body: badRequest("unknown operation") };
}

/** A point read of an absent document is a 404 (REST: Get a Document). The package fails with a TypeError and 500. */
function readDocument(original) {
  return (account, request, response, params) => {
    const [partition] = JSON.parse(request.headers["x-ms-documentdb-partitionkey"]);
    const collection = account.database(params.dbId).collection(params.collId);
    if (collection.read() && !collection.document(params.docId, partition).read()) return answer(response, 404, ABSENT);
    return original(account, request, response, params);
  };
}

/**
 * A query with the header x-ms-documentdb-partitionkey sees that partition only (REST: Query Documents). The package
 * wants the partition in the WHERE clause instead.
 *
 * A cross-partition query with ORDER BY "cannot be served by the gateway" (REST: Querying resources): it is refused
 * with 400/1004, the SDK asks for a plan, sends the rewritten query to every partition key range and merges the
 * answers (azure.cosmos._execution_context: execution_dispatcher, query_execution_info, document_producer; form of the
 * rewritten query: azure-cosmos-dotnet-v3, OrderByQueryResult). The package answers at once, as one range.
 */
function queryDocuments(original) {
  return async (account, request, response, params) => {
    const collection = account.database(params.dbId).collection(params.collId);
    if (!collection.read()) return original(account, request, response, params);
    const { headers } = request;
    const body = await readJson(request);
    const inside = partitionFilter(collection, headers);
    if (!inside && ORDERED.test(body.query)) {
      response.setHeader("x-ms-substatus", "1004");
      return answer(response, 400, badRequest("the query can not be directly served by the gateway"));
    }
    const documents = Object.create(collection.documents, {
      _data: { value: new Map([...collection.documents._data].filter(([, item]) => !inside || inside(item.read()))) },
    });
    const view = { read: () => null, documents };
    return original({ database: () => ({ collection: () => view }) }, again(request, body), response, params);
  };
}

const ORDERED = /^\s*SELECT \* FROM c\s+WHERE\s+(?<where>.*?)\s+ORDER BY\s+(?<order>.*?)\s*$/is;

/** The request for a plan says so in a header of its own; to the package it is one that creates a document. */
function createDocument(original) {
  return async (account, request, response, params) => {
    const isPlan = request.headers["x-ms-cosmos-is-query-plan-request"] === "True";
    return isPlan ? queryPlan((await readJson(request)).query) : original(account, request, response, params);
  };
}

function queryPlan(query) {
  const { where, order } = ORDERED.exec(query).groups;
  const terms = order.split(",").map((term) => term.trim().split(/\s+/));
  const items = terms.map(([field]) => `{"item": ${field}}`).join(", ");
  const select = `SELECT c._rid, [${items}] AS orderByItems, c AS payload FROM c`;
  return {
    partitionedQueryExecutionInfoVersion: 2,
    queryInfo: {
      distinctType: "None",
      orderBy: terms.map(([, direction]) => (/^desc/i.test(direction || "") ? "Descending" : "Ascending")),
      orderByExpressions: terms.map(([field]) => field),
      aggregates: [],
      rewrittenQuery: `${select} WHERE ${where} AND ({documentdb-formattableorderbyquery-filter}) ORDER BY ${order}`,
      hasSelectValue: false,
    },
    queryRanges: [{ min: "", max: "FF", isMinInclusive: true, isMaxInclusive: false }],
  };
}

/** Two ranges, so that there is something to merge. Which partition lies in which is the service's affair (a hash). */
const RANGES = [["0", "", "7F"], ["1", "7F", "FF"]];

function partitionFilter(collection, headers) {
  const field = collection.read().partitionKey.paths[0].slice(1);
  if (headers["x-ms-documentdb-partitionkey"]) {
    const [partition] = JSON.parse(headers["x-ms-documentdb-partitionkey"]);
    return (item) => item[field] === partition;
  }
  const range = headers["x-ms-documentdb-partitionkeyrangeid"];
  if (range === undefined) return null;
  return (item) => String(createHash("md5").update(item[field]).digest()[0] % RANGES.length) === range.split(",").pop();
}

function readRanges(account, request, response, { dbId, collId }) {
  if (!account.database(dbId).collection(collId).read()) return answer(response, 404, ABSENT);
  const ranges = RANGES.map(([id, minInclusive, maxExclusive]) => ({ id, minInclusive, maxExclusive, parents: [] }));
  return { PartitionKeyRanges: ranges, _count: ranges.length };
}

/** The request with its body unread. */
function again(request, body) {
  return Object.assign(Readable.from([Buffer.from(JSON.stringify(body))]), { headers: request.headers });
}

/**
 * With a defaultTtl of the container an item expires `ttl` seconds after `_ts`, and "will no longer appear in query
 * responses immediately after the TTL expires" (learn.microsoft.com/azure/cosmos-db/nosql/time-to-live). Whether the
 * real service lets an expired id be created again before it is purged is not documented; here it does.
 * The package knows no TTL.
 */
function withExpiry(original) {
  return (account, request, response, params) => {
    const collection = account.database(params.dbId).collection(params.collId);
    const { defaultTtl, partitionKey } = collection.read() || {};
    if (defaultTtl) {
      const field = partitionKey.paths[0].slice(1);
      const now = Math.floor(Date.now() / 1000);
      for (const item of [...collection.documents._data.values()].map((one) => one.read())) {
        const ttl = item.ttl ?? defaultTtl;
        if (ttl > 0 && item._ts + ttl <= now) collection.documents.delete(item.id, item[field]);
      }
    }
    return original(account, request, response, params);
  };
}

function badRequest(message) {
  return { code: "BadRequest", message };
}

function answer(response, status, body) {
  response.statusCode = status;
  return body;
}

handlers["batch-documents"].default = batch;
handlers["create-document"].default = createDocument(handlers["create-document"].default);
handlers["read-document"].default = readDocument(handlers["read-document"].default);
handlers["query-documents"].default = queryDocuments(handlers["query-documents"].default);
require(`${PACKAGE}/handler/read-partition-key-ranges`).default = readRanges;
for (const handler of Object.values(handlers)) handler.default = withExpiry(handler.default);

// Only now: the package binds its handlers when it is loaded.
const server = require(PACKAGE).createHttpServer({ keepAlive: true });
const [serve] = server.listeners("request");
server.removeAllListeners("request");
server.on("request", (request, response) => {
  const url = new URL(request.url, "http://emulator");
  if (url.pathname !== "/_emulator/advance") return serve(request, response);
  advancedMs += 1000 * Number(url.searchParams.get("s"));
  return response.end();
});
server.listen(Number(process.argv[2]), "127.0.0.1", () => console.log(`ready ${server.address().port}`));
