import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { setTimeout } from "node:timers/promises";
import { ContainerStatus, Image, type PullImageRequest } from "@keelson/cri/gen/runtime/v1/api.ts";
import { startFakeRuntime } from "../testing/fake-runtime.ts";

const [a, b, c] = ["a", "b", "c"].map((letter) => letter.repeat(64)) as [string, string, string];

async function withImages(t: TestContext) {
  const fake = await startFakeRuntime(t);
  fake.images = [
    Image.fromPartial({
      id: `sha256:${b}`,
      repoTags: ["localhost:5000/pause:3.9", "localhost:5000/pause:3.10"],
      repoDigests: [`localhost:5000/pause@sha256:${c}`],
      size: 305662n,
      uid: { value: 65535n },
      pinned: true,
    }),
    Image.fromPartial({
      id: `sha256:${a}`,
      repoTags: ["busybox:1"],
      repoDigests: [`busybox@sha256:${a}`],
      size: 1028219n,
      username: "me",
    }),
    Image.fromPartial({ id: `sha256:${c}`, repoDigests: [`app@sha256:${b}`], size: 5n }),
  ];
  return fake;
}

test("images: a line for each tag, sorted", async (t) => {
  const fake = await withImages(t);
  assert.equal(
    (await fake.keelctl("images", "--digests", "--pinned")).out,
    `
IMAGE                  TAG                 DIGEST              IMAGE ID            SIZE                PINNED
app                    <none>              bbbbbbbbbbbbb       ccccccccccccc       5B                  false
busybox                1                   aaaaaaaaaaaaa       aaaaaaaaaaaaa       1.03MB              false
localhost:5000/pause   3.9                 ccccccccccccc       bbbbbbbbbbbbb       306kB               true
localhost:5000/pause   3.10                ccccccccccccc       bbbbbbbbbbbbb       306kB               true
`.trimStart(),
  );
  assert.equal(
    (await fake.keelctl("img", "busybox:1")).out,
    "IMAGE               TAG                 IMAGE ID            SIZE\nbusybox             1                   aaaaaaaaaaaaa       1.03MB\n",
  );
  assert.match((await fake.keelctl("images", "--no-trunc")).out, new RegExp(`sha256:${a}   1.03MB$`, "m"));
  assert.equal(
    (await fake.keelctl("images", "-v", "localhost:5000/pause:3.9")).out,
    `ID: sha256:${b}\nRepoTags: localhost:5000/pause:3.9\nRepoTags: localhost:5000/pause:3.10\nRepoDigests: localhost:5000/pause@sha256:${c}\nSize: 305662\nUid: value:65535\nPinned: true\n\n`,
  );
});

test("images --filter", async (t) => {
  const fake = await withImages(t);
  const ids = async (...filters: string[]) =>
    (await fake.keelctl("images", "-q", ...filters.flatMap((one) => ["-f", one]))).out
      .split("\n")
      .map((id) => id.slice(7, 8))
      .join("");
  assert.equal(await ids(), "cab");
  assert.equal(await ids("dangling=true"), "c");
  assert.equal(await ids("dangling=false"), "ab");
  assert.equal(await ids("reference=^app$"), "c");
  assert.equal(await ids("before=busybox:1"), "b");
  assert.equal(await ids("since=busybox:1"), "c");
  assert.equal(await ids("since=localhost:5000/pause:3.9", "dangling=false"), "a");
  assert.match((await fake.keelctl("images", "-f", "size=3")).err, /--filter size=3: must be dangling=/);
});

test("inspecti", async (t) => {
  const fake = await withImages(t);
  const { status } = JSON.parse((await fake.keelctl("inspecti", "busybox:1")).out) as { status: object };
  assert.deepEqual(status, {
    id: `sha256:${a}`,
    pinned: false,
    repoDigests: [`busybox@sha256:${a}`],
    repoTags: ["busybox:1"],
    size: "1028219",
    username: "me",
  });
  assert.equal((JSON.parse((await fake.keelctl("inspecti")).out) as unknown[]).length, 3);
  assert.equal(
    (await fake.keelctl("inspecti", "-q", "-o", "table", "busybox:1")).out,
    `ID: sha256:${a}\nTag: busybox:1\nDigest: busybox@sha256:${a}\nSize: 1.03MB\n`,
  );
  assert.deepEqual(await fake.keelctl("inspecti", "nope"), {
    code: 1,
    out: "",
    err: "keelctl: there is no image nope; `keelctl images` lists them\n",
  });
});

test("rmi prints what it removed, and warns of the other tags", async (t) => {
  const fake = await withImages(t);
  assert.deepEqual(await fake.keelctl("rmi", "localhost:5000/pause:3.9"), {
    code: 0,
    out: "Deleted: localhost:5000/pause:3.9\nDeleted: localhost:5000/pause:3.10\n",
    err: "keelctl: localhost:5000/pause:3.9 has more tags, which are removed too: localhost:5000/pause:3.9, localhost:5000/pause:3.10\n",
  });
  assert.deepEqual(await fake.keelctl("rmi", c.slice(0, 13)), { code: 0, out: `Deleted: app@sha256:${b}\n`, err: "" });
  assert.deepEqual(await fake.keelctl("rmi", "nope", "busybox:1"), {
    code: 1,
    out: "Deleted: busybox:1\n",
    err: "keelctl: there is no image nope; `keelctl images` lists them\n",
  });
  assert.deepEqual(await fake.keelctl("rmi", "-a"), { code: 0, out: "", err: "keelctl: no images to remove\n" });
});

test("rmi --prune leaves what is pinned or used", async (t) => {
  const fake = await withImages(t);
  fake.containers = [ContainerStatus.fromPartial({ id: "x", image: { image: "busybox:1" } })];
  assert.deepEqual(await fake.keelctl("rmi", "--prune"), { code: 0, out: `Deleted: app@sha256:${b}\n`, err: "" });
});

test("pull: one line, and the credentials from where they were given", async (t) => {
  const fake = await startFakeRuntime(t);
  const auth = () => (fake.calls.at(-1)!.request as PullImageRequest).auth;
  assert.deepEqual(await fake.keelctl("pull", "-a", "k=v", "busybox:1"), {
    code: 0,
    out: `Image is up to date for sha256:${"f".repeat(64)}\n`,
    err: "",
  });
  assert.equal(auth(), undefined);
  assert.deepEqual((fake.calls.at(-1)!.request as PullImageRequest).image!.annotations, { k: "v" });
  await fake.keelctl("pull", "--creds", "me:a:b", "x");
  assert.deepEqual([auth()!.username, auth()!.password], ["me", "a:b"]);
  await fake.keelctlWith({ env: { CRICTL_AUTH: "bWU6eA==" } }, "pull", "x");
  assert.equal(auth()!.auth, "bWU6eA==");
  await fake.keelctl("pull", "-u", "me", "x");
  assert.equal(auth()!.password, "secret");
  assert.match((await fake.keelctl("pull", "--creds", "a", "--auth", "b", "x")).err, /use one of them/);
});

test("pull -pt gives up, as crictl spells it", async (t) => {
  const fake = await startFakeRuntime(t, {
    pullImage: (_, signal) => setTimeout(60_000, { imageRef: "" }, { signal }),
  });
  assert.deepEqual(await fake.keelctl("pull", "-pt", "20ms", "x"), {
    code: 1,
    out: "",
    err: "keelctl: PullImage took longer than 0.02 s. It may still be in progress; give it more time with --pull-timeout\n",
  });
});

test("pull on a terminal: a bar if the runtime reports progress, removed at the end", async (t) => {
  const pulled = Promise.withResolvers<{ imageRef: string }>();
  const layers = [
    { digest: "sha256:1", stage: "done", bytes: 10, totalBytes: 10 },
    { digest: "sha256:2", stage: "downloading", bytes: 20, totalBytes: 50 },
  ];
  let polls = 0;
  const fake = await startFakeRuntime(t, {
    pullImage: () => pulled.promise,
    imageStatus: () => {
      polls += 1;
      if (polls === 3) pulled.resolve({ imageRef: "ref" });
      return Promise.resolve({
        image: undefined,
        info: { pullProgress: JSON.stringify({ stage: "downloading", layers }) },
      });
    },
  });
  const { code, out, err } = await fake.keelctlWith({ isTerminal: true }, "pull", "app:1");
  assert.deepEqual([code, out], [0, "Image is up to date for ref\n"]);
  assert.ok(
    err.includes("\r\u001b[K| pulling app:1 downloading 1/2 layers [############------------] 30B/60B 0s"),
    JSON.stringify(err),
  );
  assert.ok(err.endsWith("\r\u001b[K"));
});

test("pull on a terminal: a spinner if the runtime reports no progress, which it is asked for only ten times", async (t) => {
  const pulled = Promise.withResolvers<{ imageRef: string }>();
  let polls = 0;
  let turns = 0;
  const fake = await startFakeRuntime(t, {
    pullImage: () => pulled.promise,
    imageStatus: () => ((polls += 1), Promise.resolve({ image: undefined, info: { pullProgress: "{" } })),
  });
  const sleep = async () => {
    turns += 1;
    if (turns === 20) pulled.resolve({ imageRef: "ref" });
    await setTimeout(1);
  };
  const { err } = await fake.keelctlWith({ isTerminal: true, sleep }, "pull", "app:1");
  assert.equal(polls, 10);
  assert.ok(err.startsWith("\r\u001b[K| pulling app:1 0s\r"), JSON.stringify(err));
});
