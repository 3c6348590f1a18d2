/** How long shims may take to answer, in ms, depending on what they have to do for that. */

/** For what is mostly done in memory. */
export const answerTimeoutMs = 10_000;

/** To start, and to create or start a container or a command: a virtual machine may have to boot first. */
export const slowTimeoutMs = 120_000;

/** To answer a SIGKILL; a shim that does not hangs. */
export const killTimeoutMs = 5000;

/** To remove what a container has left behind. */
export const cleanUpTimeoutMs = 30_000;

/** To do so once the shim is dead: some first find out that their machine does not answer. */
export const deleteTimeoutMs = 120_000;

/** For a container to end after a SIGKILL to all of it, before its sandbox is killed: less than the caller waits. */
export const deathMs = 7000;

/** For a container that was never started: where it has a process, that is gone at once. */
export const unstartedDeathMs = 1000;

/** To listen, after its start. */
export const listenPatienceMs = 5000;

/** For a call that lasts as long as the container does: the most that a timer can do, about 24 days. */
export const endlessMs = 0x7fffffff;
