import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import fs from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { Code } from "@keelson/base/status.ts";
import { warmThreadPool } from "@keelson/linux/pool.ts";
import { type Image, makeImage, makeLayer } from "@keelson/testkit/image.ts";
import { directory, file } from "@keelson/testkit/tar.ts";
import { waitFor } from "@keelson/testkit/wait.ts";
import { contentOf, credentials, isStatus, openStore, soon } from "./testing/pull-fixture.ts";

/** Pulls from a registry by other authors. Needs root: layers are unpacked. */

await warmThreadPool();

test("an image that skopeo pushed to Debian's docker-registry with htpasswd is pulled", async (t) => {
  const dir = fs.mkdtempSync(join(tmpdir(), "keelson-registry-"));
  const host = await startDockerRegistry(t, dir);
  const image = makeImage([makeLayer([directory("d/"), file("d/f", "hello")])]);
  pushWithSkopeo(dir, image, `${host}/team/app:v1`);
  const { images } = await openStore(t);
  await assert.rejects(
    images.puller.pull({ reference: `${host}/team/app:v1`, signal: soon() }),
    isStatus(Code.Unauthenticated, /401/),
  );
  const pulled = await images.puller.pull({ reference: `${host}/team/app:v1`, credentials, signal: soon() });
  assert.equal(pulled.id, image.config.digest);
  assert.equal(contentOf(images, pulled.id, "d/f"), "hello");
});

/** Starts docker-registry on a free port, with the user of `credentials`. */
async function startDockerRegistry(t: TestContext, dir: string): Promise<string> {
  const port = await freePort();
  const host = `127.0.0.1:${port}`;
  fs.writeFileSync(join(dir, "htpasswd"), "user:$2b$04$7EZcFjNlkiXMssWAa6uBjec9EwP.bqorNILE/.T0AAU5yoFci8Lr2\n");
  fs.writeFileSync(
    join(dir, "config.yml"),
    `version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: ${dir}/data}}\nhttp: {addr: "${host}"}\nauth: {htpasswd: {realm: test, path: ${dir}/htpasswd}}\n`,
  );
  const server = spawn("docker-registry", ["serve", join(dir, "config.yml")], {
    stdio: "ignore",
    env: { ...process.env, OTEL_TRACES_EXPORTER: "none" },
  });
  t.after(async () => {
    const exited = new Promise((resolve) => server.once("exit", resolve));
    server.kill();
    await exited;
    fs.rmSync(dir, { recursive: true });
  });
  await waitFor(() =>
    fetch(`http://${host}/v2/`).then(
      (r) => r.status === 401 || undefined,
      () => undefined,
    ),
  );
  return host;
}

function pushWithSkopeo(dir: string, image: Image, name: string): void {
  const layout = join(dir, "layout");
  fs.mkdirSync(join(layout, "blobs/sha256"), { recursive: true });
  for (const blob of [image.manifest, image.config, ...image.layers])
    fs.writeFileSync(join(layout, "blobs/sha256", blob.digest.slice(7)), blob.bytes);
  fs.writeFileSync(join(layout, "oci-layout"), '{"imageLayoutVersion":"1.0.0"}');
  const entry = {
    mediaType: image.manifest.mediaType,
    digest: image.manifest.digest,
    size: image.manifest.bytes.length,
  };
  fs.writeFileSync(join(layout, "index.json"), JSON.stringify({ schemaVersion: 2, manifests: [entry] }));
  execFileSync(
    "skopeo",
    ["copy", "-q", "--dest-tls-verify=false", "--dest-creds", "user:geheim", `oci:${layout}`, `docker://${name}`],
    { stdio: ["ignore", "ignore", "pipe"] },
  );
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}
