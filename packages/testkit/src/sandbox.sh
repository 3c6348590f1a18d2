#!/bin/sh
# Runs a command in a sandbox that looks like a machine. host-sandbox.ts calls this and removes the cgroups afterwards.
#
#   sandbox.sh enter NAME new-net|host-net COMMAND...
#
# With KEELSON_TEST_CGROUP_DRIVER=systemd it leaves PIDs, cgroups and /run as they are, so that systemd can make cgroups
# for what runs inside. That is only for a machine that is discarded afterwards, such as that of `npm run test:guest`.
#
# Every stage replaces the one before by exec, so there is only one process to wait for.
set -eu
stage=$1 name=$2 net=$3
cgroup=/sys/fs/cgroup
driver=${KEELSON_TEST_CGROUP_DRIVER:-cgroupfs}

# The cgroup v1 hierarchies that are mounted here, as "DIRECTORY OPTIONS" lines. cgroup v2 beside them (hybrid) is left
# out: crun 1.8 runs on a hybrid machine only when v2 has no controller at all, and moving the remaining ones to v1 would
# change the whole machine. Without v2 it sees a plain v1.
v1_hierarchies() {
  while IFS=: read -r _ controllers _; do
    case $controllers in
      "") continue ;;
      name=*) dir=${controllers#name=} options=none,$controllers ;;
      *) dir=$controllers options=$controllers ;;
    esac
    if [ -e "$cgroup/$dir/cgroup.procs" ]; then echo "$dir $options"; fi
  done </proc/self/cgroup
}

case $stage-$driver in
enter-systemd)
  mkdir -p /var/lib/cni /run/netns
  if [ "$net" = new-net ]; then flags=--net; else flags=; fi
  shift
  exec setpriv --pdeathsig KILL unshare --mount --propagation private --ipc --uts $flags -- "$0" inside "$@"
  ;;
inside-systemd)
  if [ "$net" = new-net ]; then
    mount -t sysfs sysfs /sys
    mount -t cgroup2 cgroup2 $cgroup
    mount -t securityfs securityfs /sys/kernel/security
    ip link set lo up
  fi
  mount -t tmpfs -o mode=755 cni /var/lib/cni
  shift 3
  exec "$@"
  ;;
enter-*) # on the machine: enters a new cgroup, which becomes the root of a cgroup namespace
  if [ -e $cgroup/cgroup.procs ]; then
    mkdir "$cgroup/$name" "$cgroup/$name/init"
    echo $$ >"$cgroup/$name/cgroup.procs"
  else
    v1_hierarchies | while read -r dir _; do
      mkdir "$cgroup/$dir/$name"
      # A new v1 cpuset has no cpus and no memory nodes, and no process can enter it before it has (cpuset(7)).
      if [ -e "$cgroup/$dir/cpuset.cpus" ]; then
        cat "$cgroup/$dir/cpuset.cpus" >"$cgroup/$dir/$name/cpuset.cpus"
        cat "$cgroup/$dir/cpuset.mems" >"$cgroup/$dir/$name/cpuset.mems"
      fi
      echo $$ >"$cgroup/$dir/$name/cgroup.procs"
    done
  fi
  # /var/lib/cni must exist to be mounted over; only the empty directory stays.
  mkdir -p /var/lib/cni
  shift
  exec unshare --cgroup -- "$0" split "$@"
  ;;
split-*) # in the cgroup namespace, still with the machine's mounts
  if [ -e $cgroup/cgroup.procs ]; then
    # A cgroup v2 with processes cannot pass controllers to its children (cgroups(7), "no internal processes"), so we move
    # into a leaf beside those of the containers.
    echo $$ >"$cgroup/$name/init/cgroup.procs"
    for controller in $(cat "$cgroup/$name/cgroup.controllers"); do
      echo "+$controller" >"$cgroup/$name/cgroup.subtree_control" || true
    done
  fi
  if [ "$net" = new-net ]; then flags=--net; else flags=; fi
  shift
  # When our caller dies, we die; when we die, process 1 of the PID namespace dies, and with it everything inside,
  # daemonised or not. catatonit as process 1 reaps orphans such as those of conmon.
  exec setpriv --pdeathsig KILL unshare --mount --propagation private --pid --fork --kill-child --mount-proc --ipc --uts $flags -- \
    catatonit -- "$0" inside "$@"
  ;;
inside-*)
  security=$([ -d /sys/kernel/security/. ] && ls -A /sys/kernel/security || true)
  unified=$([ -e $cgroup/cgroup.procs ] && echo yes || true)
  hierarchies=$(v1_hierarchies)
  # mount(2) refuses to mount a file system on top of itself, and gVisor fails on mounts that are covered by others.
  umount -R -l $cgroup
  if [ "$net" = new-net ]; then
    # A sysfs shows the network namespace in which it was mounted.
    mount -t sysfs sysfs /sys
    if [ -n "$security" ]; then mount -t securityfs securityfs /sys/kernel/security; fi
  fi
  if [ -n "$unified" ]; then
    mount -t cgroup2 cgroup2 $cgroup
  else
    mount -t tmpfs -o mode=755 cgroup $cgroup
    echo "$hierarchies" | while read -r dir options; do
      mkdir "$cgroup/$dir"
      mount -t cgroup -o "$options" cgroup "$cgroup/$dir"
      case $dir in *,*) for one in $(echo "$dir" | tr , ' '); do ln -s "$dir" "$cgroup/$one"; done ;; esac
    done
  fi
  # /etc/resolv.conf is often a link into /run; nothing else of /run is needed here.
  resolv=$(cat /etc/resolv.conf 2>/dev/null || true)
  target=$(readlink -f /etc/resolv.conf || true)
  mount -t tmpfs -o mode=755 run /run
  mkdir -p /run/lock /run/netns
  case $target in /run/*) mkdir -p "${target%/*}" && echo "$resolv" >"$target" ;; esac
  mount -t tmpfs -o mode=755 cni /var/lib/cni
  if [ "$net" = new-net ]; then ip link set lo up; fi
  shift 3
  exec "$@"
  ;;
esac
