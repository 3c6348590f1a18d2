/** How long shims may take for what they are asked, in ms, each for what it may have to do meanwhile. */

/** For what is mostly done in memory. */
export const answerTimeoutMs = 10_000;

/** To start, and to create or start a container or a command: a virtual machine may have to boot first. */
export const slowTimeoutMs = 120_000;

/** To answer a SIGKILL; a shim that does not hangs. */
export const killTimeoutMs = 5000;

/** To remove what a container has left behind. */
export const cleanUpTimeoutMs = 30_000;

/** To listen, after its start. */
export const listenPatienceMs = 5000;

/** For a call that lasts as long as the container does: the most that a timer can do, about 24 days. */
export const endlessMs = 0x7fffffff;
