/**
 * @vercel/cosmosdb-server with what it lacks or does differently from Cosmos DB, and nothing else of ours: databases,
 * containers, etags, resource ids and the SQL engine with its check of composite indexes are the package's.
 *
 *   node server.cjs PORT        POST /_emulator/advance?s=SECONDS moves its clock forward
 */
"use strict";

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
  const wanted = await readJson(request);
  if (!collection.read()) return answer(response, 404, ABSENT);
  if (wanted.length > MAX_OPERATIONS) return answer(response, 400, { code: "BadRequest", message: "too many operations" });
  if (Number(request.headers["content-length"]) > MAX_BATCH_BYTES) {
    return answer(response, 413, { code: "RequestEntityTooLarge", message: "Request size is too large" });
  }
  const { documents } = collection;
  const before = [new Map(documents._data), new Map(documents._index)];
  const results = [];
  for (const operation of wanted) {
    const result = apply(collection, { ...operation, partitionKey });
    results.push({ statusCode: result.statusCode, eTag: result.body?._etag, resourceBody: result.body, requestCharge: 1 });
    if (result.statusCode >= 400) {
      [documents._data, documents._index] = before;
      const failed = results.length - 1;
      return answer(response, 207, wanted.map((_, n) => (n === failed ? results[n] : { statusCode: 424, requestCharge: 0 })));
    }
  }
  return results;
}

function apply(collection, operation) {
  // "group of point operations with the same partition key" (same page).
  const [path] = collection.read().partitionKey.paths;
  const [partition] = JSON.parse(operation.partitionKey);
  if (operation.resourceBody && operation.resourceBody[path.slice(1)] !== partition) {
    return { statusCode: 400, body: { code: "BadRequest", message: "not of the batch's partition" } };
  }
  const run = operations[`${operation.operationType.toLowerCase()}Operation`];
  return run ? run(collection, operation) : { statusCode: 400, body: { code: "BadRequest" } };
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
 */
function queryDocuments(original) {
  return (account, request, response, params) => {
    const header = request.headers["x-ms-documentdb-partitionkey"];
    const collection = account.database(params.dbId).collection(params.collId);
    if (!header || !collection.read()) return original(account, request, response, params);
    const [path] = collection.read().partitionKey.paths;
    const [partition] = JSON.parse(header);
    const inside = [...collection.documents._data].filter(([, item]) => item.read()[path.slice(1)] === partition);
    const view = { read: () => null, documents: Object.create(collection.documents, { _data: { value: new Map(inside) } }) };
    return original({ database: () => ({ collection: () => view }) }, request, response, params);
  };
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
    const { defaultTtl } = collection.read() || {};
    if (defaultTtl) {
      const now = Math.floor(Date.now() / 1000);
      for (const item of [...collection.documents._data.values()].map((one) => one.read())) {
        const ttl = item.ttl ?? defaultTtl;
        if (ttl > 0 && item._ts + ttl <= now) collection.documents.delete(item.id, item[collection.read().partitionKey.paths[0].slice(1)]);
      }
    }
    return original(account, request, response, params);
  };
}

function answer(response, status, body) {
  response.statusCode = status;
  return body;
}

handlers["batch-documents"].default = batch;
handlers["read-document"].default = readDocument(handlers["read-document"].default);
handlers["query-documents"].default = queryDocuments(handlers["query-documents"].default);
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
server.listen(Number(process.argv[2]), "127.0.0.1");
