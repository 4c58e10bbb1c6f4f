#!/bin/sh
# Installs the Debian packages that are missing, and nothing where none is. Arguments are packages to have besides.
set -eu

# qemu boots guests, kmod indexes their modules, busybox starts them, virtme-ng asks binutils what an image is; libbpf
# loads the probe.
packages="python3 python3-venv qemu-system-x86 kmod busybox-static binutils zstd libbpf1 debian-archive-keyring $*"

missing=""
for package in $packages; do
    status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
    echo "rttcheck: the packages$missing are missing and installing them needs root: run the command again with sudo" >&2
    exit 1
fi
echo "rttcheck: installing$missing" >&2
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086  # the list is words on purpose
apt-get install -y -qq --no-install-recommends $missing >/dev/null
