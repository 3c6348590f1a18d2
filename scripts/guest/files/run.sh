# Runs in the guest, on the repository's disk. disk.ts has written the options next to it: DRIVERS, PARTS, SLOWNESS.
set -u
. /keelson/.guest/wanted
export HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
# The types are stripped already: Node does it with WebAssembly, which crashes one start in five under emulation.
export NODE_OPTIONS="--import /keelson/scripts/guest/files/stripped.mjs"
export NODE_COMPILE_CACHE=/var/cache/keelson-node
# There is no bundler here: keelsond and keelctl run from the sources.
export KEELSON_TEST_BUILT=
export KEELSON_TEST_SLOWNESS="$SLOWNESS"
cd /keelson || exit 1
result=0
for driver in $DRIVERS; do
  echo "▶ cgroup driver $driver"
  # shellcheck disable=SC2086 # split into words
  KEELSON_TEST_CGROUP_DRIVER=$driver bin/node scripts/test.ts $PARTS || result=1
done
exit $result
