import { after, before } from "node:test";
import { TestNode, type TestNodeOptions } from "./test-node.ts";

/** Has a `describe` use the node of its file: `prepare` is run before its tests. */
export type UseNode = (prepare: (node: TestNode) => void | Promise<void>) => void;

/**
 * A node for all tests of a file that use it, because to start a daemon takes longer than most tests. It starts with the
 * first `describe` that uses it, each one's pods are removed at its end, and after the last one it is ended, so that
 * other tests of the file may have nodes of their own. To be called outside of any `describe`.
 *
 *     const useNode = shareNode();
 *     for (const runtime of eachRuntime)
 *       describe(`a container with ${runtime}`, { skip: skipFor(runtime) }, () => {
 *         let pod: Pod;
 *         useNode(async (node) => void (pod = await node.runPod({}, runtime)));
 */
export function shareNode(options: TestNodeOptions = {}): UseNode {
  let node: TestNode | undefined;
  let usesLeft = 0;
  const end = async (): Promise<void> => {
    const ending = node;
    node = undefined;
    await ending?.[Symbol.asyncDispose]();
  };
  after(end); // where not all that use it have run
  return (prepare) => {
    usesLeft += 1;
    before(async () => prepare((node ??= await TestNode.start(options))));
    after(async () => {
      usesLeft -= 1;
      if (usesLeft === 0) await end();
      else await node?.removePods();
    });
  };
}
