#!/bin/busybox sh
# PID 1 of a guest, in two stages. The first runs in the initramfs: it loads what the kernel has as modules, reports to
# the launcher, and reads the session (shell assignments and functions, see session.py). The second runs in the root:
# an overlay on the host's files that keeps every write in this guest's memory. There is no udev, no systemd and no
# service; a lab needs none of them. Any error here ends the guest at once, with its reason on the console.

die() {
    echo "rttcheck init: $*" >/dev/console
    $B reboot -f
}

must() {
    "$@" || die "failed: $*"
}

port_named() {
    for file in /sys/class/virtio-ports/*/name; do
        [ -e "$file" ] || continue
        read -r name <"$file"
        if [ "$name" = "$1" ]; then
            file=${file%/name}
            echo "/dev/${file##*/}"
            return
        fi
    done
    return 1
}

first() {
    B=/bin/busybox
    $B mount -t proc proc /proc
    $B mount -t sysfs sysfs /sys
    $B mount -t devtmpfs devtmpfs /dev
    while read -r module; do
        must $B insmod "/modules/$module"
    done </modules/order
    # They move into the root with what they are mounted on; here a frozen guest has them already.
    $B mkdir -p /dev/shm /dev/pts
    $B mount -t tmpfs tmpfs /dev/shm
    $B mount -t devpts devpts /dev/pts
    $B mount -t cgroup2 cgroup2 /sys/fs/cgroup
    $B mount -t bpf bpffs /sys/fs/bpf
    $B mount -t debugfs debugfs /sys/kernel/debug
    $B mount -t tracefs tracefs /sys/kernel/tracing
    $B ip link set lo up
    # The ports are set up by a work item of the kernel, which notifies no process here.
    tries=0
    until control=$(port_named rttcheck.control); do
        tries=$((tries + 1))
        [ $tries -lt 2000 ] || die "no control port: the kernel needs CONFIG_VIRTIO_PCI and CONFIG_VIRTIO_CONSOLE"
        $B usleep 1000
    done
    exec 3<>"$control"
    python=
    if [ -e /python/start ]; then start_python && python=python; fi
    echo "${python:-no python}" >&3
    echo hello >&3
    read -r size <&3
    $B head -c "$size" <&3 >/session
    echo session >&3
    . /session
    session_root
    for directory in proc sys dev; do
        must $B mount --move /$directory /newroot/$directory
    done
    must $B mount -t tmpfs -o mode=755 tmpfs /newroot/run
    must $B mkdir -p /newroot/run/rttcheck
    must $B cp /bin/busybox /init /session /newroot/run/rttcheck/
    exec $B switch_root /newroot /run/rttcheck/busybox sh /run/rttcheck/init second $python
}

# What was imported is in memory; removing the files now spares every session their removal.
forget_files() {
    for entry in /*; do
        case $entry in
        /bin | /dev | /init | /modules | /newroot | /proc | /python | /sys) ;;
        *) $B rm -rf "$entry" ;;
        esac
    done
}

# Python starts here, to be frozen with the guest (warm_python.py). It enters the root when it has its request.
start_python() {
    must $B mount -t proc proc /python/proc
    must $B mkfifo /python/requests /python/reports
    exec 4<>/python/requests 5<>/python/reports
    (
        $B sh /python/start </dev/null >/python/log 2>&1 3>&-
        echo "ended $?" >&5
    ) &
    read -r report <&5
    if [ "$report" = ready ]; then
        forget_files
        return
    fi
    echo "rttcheck init: Python was not started: $($B tail -n 3 /python/log)" >/dev/console
    return 1
}

second() {
    B=/run/rttcheck/busybox
    . /run/rttcheck/session
    session_mounts
    stdin=$(port_named rttcheck.stdin) || die "no stdin port"
    stdout=$(port_named rttcheck.stdout) || die "no stdout port"
    stderr=$(port_named rttcheck.stderr) || die "no stderr port"
    echo start >&3
    if [ "$1" = python ] && [ -n "$session_python" ]; then
        $B printf '%s\n' "$stdin $stdout $stderr" "$session_python" >&4
        # While a shell waits for a program it reaps the orphans that PID 1 gets; while it reads it does not.
        $B head -n 1 <&5 >/run/rttcheck/report
        read -r report </run/rttcheck/report
        echo "exit ${report#ended }" >&3
    else
        session_command <"$stdin" >"$stdout" 2>"$stderr" 3>&- 4>&- 5>&-
        echo "exit $?" >&3
    fi
    $B reboot -f
}

if [ "$1" = second ]; then
    second "$2"
else
    first
fi
