/**
 * `node:http` and `node:https` as `require` returns them. An import would evaluate all their exports and so load Node's
 * fetch and WebSocket, which are not used here: 5 MB in the daemon, and 30 ms in every thread.
 */
export const http = process.getBuiltinModule("node:http");
export const https = process.getBuiltinModule("node:https");
