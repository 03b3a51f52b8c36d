/** node --require: ends the server when the test process that holds its stdin is gone, however it went. */
"use strict";
process.stdin.on("end", () => process.exit(0)).resume();
