// The programs that are built beside the addon, each from native/NAME.c. Plain JavaScript, for build.mjs.
export const programs = [
  "bind-source",
  "exec-waiter",
  "gvisor-stand-in",
  "look-beneath",
  "pod-init",
  "relabel-tree",
  "resolve-paths",
];
