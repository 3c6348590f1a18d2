// What a client trusts the daemon with is in no error and in no log, however the registry or the runtime fails.
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { Code, StatusError } from "@keelson/base/status.ts";
import { AuthConfig, type DeepPartial } from "@keelson/cri/gen/runtime/v1/api.ts";
import { skip } from "@keelson/testkit/host-sandbox.ts";
import { makeImage, makeLayer } from "@keelson/testkit/image.ts";
import { type Fault, Registry, type RegistryOptions } from "@keelson/testkit/registry.ts";
import { file } from "@keelson/testkit/tar.ts";
import { imageSpec, TestNode } from "../testing/test-node.ts";

const secret = "geheim-4711";
const login = { username: "user", password: secret };
/** As it is, and as it goes over the wire. */
const shapes = [
  secret,
  Buffer.from(`user:${secret}`).toString("base64"),
  encodeURIComponent(secret),
  Buffer.from(secret).toString("base64").replace(/=+$/, ""),
];

describe("a secret", { skip }, () => {
  let node: TestNode;
  const seen: string[] = [];
  before(async () => void (node = await TestNode.start()));
  after(() => node[Symbol.asyncDispose]());

  const pull = (image: string, auth: DeepPartial<AuthConfig> | undefined, signal?: AbortSignal) =>
    node.call(
      "pullImage",
      { image: imageSpec(image), auth: auth && AuthConfig.fromPartial(auth), sandboxConfig: undefined },
      signal,
    );
  const fails = async (call: Promise<unknown>) => {
    const error = await call.then(
      () => assert.fail("it worked"),
      (e: unknown) => e,
    );
    assert.ok(error instanceof StatusError, String(error));
    seen.push(error.message);
    return error;
  };

  /** What there is to know of an image and of a container of it, into `seen`. */
  async function tellVerbosely(image: string): Promise<void> {
    const pod = await node.runPod();
    const containerId = await node.createContainer(pod, { image: { image }, command: ["/f"] });
    const answers = [
      await node.call("status", { verbose: true }),
      await node.call("imageStatus", { image: imageSpec(image), verbose: true }),
      await node.call("podSandboxStatus", { podSandboxId: pod.id, verbose: true }),
      await node.call("containerStatus", { containerId, verbose: true }),
    ];
    for (const { info } of answers) {
      assert.ok(Object.keys(info).length > 0);
      seen.push(...Object.values(info));
    }
    await node.removePod(pod.id);
  }

  async function privateRegistry(
    options: RegistryOptions,
  ): Promise<{ registry: Registry; image: string } & AsyncDisposable> {
    const registry = await Registry.start(options);
    const image = registry.add("private", "v1", makeImage([makeLayer([file(`f-${registry.host}`, "x")])]));
    return { registry, image, [Symbol.asyncDispose]: () => registry[Symbol.asyncDispose]() };
  }

  for (const kind of ["basic", "token"] as const) {
    test(`of a registry that wants ${kind} stays between the two, in whatever way the pull fails`, async () => {
      await using private_ = await privateRegistry({ auth: { kind, ...login }, redirectBlobs: true });
      const { registry, image } = private_;
      await fails(pull(image, { username: "user", password: `${secret}-wrong` }));
      await fails(pull(image, { username: secret, password: "x" }));
      await fails(pull(image, { auth: Buffer.from(`user:${secret}-wrong`).toString("base64") }));
      await fails(pull(image, { auth: Buffer.from(secret).toString("base64") }));
      await fails(pull(image, { auth: `${secret}!` }));
      await fails(pull(image, { identityToken: secret }));
      await fails(pull(image, { registryToken: secret }));
      await fails(pull(image, { registryToken: `${secret}\r\nx-evil: 1` }));
      await fails(pull(image, { username: "user", password: `${secret}\n\0`, serverAddress: "http://[" }));
      const faults: Fault[] = [
        { kind: "status", status: 500, body: `{"errors":[{"code":"UNKNOWN","message":"no"}]}` },
        { kind: "status", status: 401, headers: { "www-authenticate": 'Bearer realm="file:///etc/passwd"' } },
        { kind: "status", status: 401, headers: { "www-authenticate": 'Bearer realm="http://169.254.169.254/token"' } },
        { kind: "status", status: 307, headers: { location: "http://169.254.169.254/x" } },
        { kind: "status", status: 307, headers: { location: "file:///etc/passwd" } },
        { kind: "status", status: 429, headers: { "retry-after": "3600" } },
        { kind: "status", status: 200, body: "<html>" },
        { kind: "drop", afterBytes: 0 },
      ];
      for (const fault of faults) {
        using _ = registry.inject(fault, { pathIncludes: "/v2/private/" });
        await fails(pull(image, login));
      }
      {
        using _ = registry.inject({ kind: "hold", until: new Promise(() => {}) }, { pathIncludes: "/v2/private/" });
        const error = await fails(pull(image, login, AbortSignal.timeout(300)));
        assert.equal(error.code, Code.DeadlineExceeded);
      }
      // The right one, then, works, and no verbose status tells it.
      await pull(image, login);
      await tellVerbosely(image);
    });
  }

  test("is not sent where a redirect or a realm of another host leads without need", async () => {
    const requests: string[] = [];
    const thief = createServer((request, response) => {
      requests.push(`${request.url} ${JSON.stringify(request.headers)}`);
      response.writeHead(200).end("{}");
    });
    await new Promise<void>((resolve) => thief.listen(0, "127.0.0.1", resolve));
    try {
      await using private_ = await privateRegistry({ auth: { kind: "basic", ...login } });
      using _ = private_.registry.inject(
        {
          kind: "status",
          status: 307,
          headers: { location: `http://127.0.0.1:${(thief.address() as AddressInfo).port}/stolen` },
        },
        { pathIncludes: "/manifests/" },
      );
      await fails(pull(private_.image, { ...login, registryToken: secret }));
      assert.ok(requests.length > 0);
      for (const request of requests) for (const shape of shapes) assert.ok(!request.includes(shape), request);
    } finally {
      thief.closeAllConnections();
      thief.close();
    }
  });

  test("in a container's environment, arguments and annotations is in no error", async () => {
    const pod = await node.runPod({ annotations: { token: secret } });
    const envs = [{ key: "PASSWORD", value: Buffer.from(secret) }];
    await fails(
      node
        .createContainer(pod, { command: ["/no/such/program", `--password=${secret}`], envs })
        .then((id) => node.startContainer(id)),
    );
    await fails(node.createContainer(pod, { command: ["true"], envs, workingDir: "relative" }));
    await fails(
      node.createContainer(pod, {
        command: ["true"],
        envs,
        mounts: [{ hostPath: "/proc/none/such", containerPath: "/x" }],
      }),
    );
    const id = await node.runContainer(pod, { command: ["sleep", "600"], envs });
    await node.exec(id, ["/no/such/program", secret]).catch((error: unknown) => seen.push(String(error)));
    await node.removePod(pod.id);
  });

  test("is in no error and in no log of the daemon, at the level debug", () => {
    const logs = readdirSync(node.dir)
      .filter((name) => /^keelsond\.\d+\.log$/.test(name))
      .map((name) => readFileSync(join(node.dir, name), "utf8"));
    assert.match(logs.join(""), /"level":20/);
    for (const text of [...seen, ...logs.flatMap((log) => log.split("\n"))]) {
      for (const shape of shapes) assert.ok(!text.includes(shape), `${shape} is in: ${text}`);
    }
    assert.ok(seen.length > 30);
  });
});
