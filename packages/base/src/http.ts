/**
 * `node:http` and `node:https` as `require` has them. An import evaluates all that they export, and so loads the fetch
 * and WebSocket of Node, which nobody here uses: 5 MB of the daemon, and 30 ms in every thread.
 */
export const http = process.getBuiltinModule("node:http");
export const https = process.getBuiltinModule("node:https");
