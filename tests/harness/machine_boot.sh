#!/bin/bash
# From fresh namespaces to `systemd --system` as PID 1 on an overlay of the running root; called by machine.py under unshare.
# Usage: machine_boot.sh STAGE. STAGE has inject/, an empty scratch/, out/ (bound to /mnt/out), `hide` (lines: a directory that is
# empty in there), `binds` (lines: FROM TO) and perhaps prepare.sh, which runs in the new root before systemd, on the real network.
# Nothing is written to the real root.
set -euo pipefail
stage=$1
mount --make-rprivate /

scratch=$stage/scratch
mount -t tmpfs tmpfs "$scratch"
mkdir -p "$scratch/upper" "$scratch/work" "$scratch/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$scratch/upper,workdir=$scratch/work" "$scratch/root"
root=$scratch/root

mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys" || mount --rbind /sys "$root/sys"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp" -o mode=1777

# An own /dev with the harmless nodes only.
mount -t tmpfs tmpfs "$root/dev" -o mode=755
for node in "null 1 3" "zero 1 5" "full 1 7" "random 1 8" "urandom 1 9" "tty 5 0"; do
    # shellcheck disable=SC2086
    set -- $node
    mknod -m 666 "$root/dev/$1" c "$2" "$3"
done
mkdir -p "$root/dev/pts" "$root/dev/shm"
mount -t devpts devpts "$root/dev/pts" -o newinstance,ptmxmode=0666
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
mount -t tmpfs tmpfs "$root/dev/shm"

mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"

while read -r path; do
    if [ -d "$root$path" ]; then mount -t tmpfs tmpfs "$root$path"; fi
done <"$stage/hide"
cp -r --no-preserve=ownership "$stage/inject/." "$root/"
while read -r from to; do
    mkdir -p "$root$to"
    mount --rbind "$from" "$root$to"
done <"$stage/binds"
mkdir -p "$root/mnt/out"
mount --bind "$stage/out" "$root/mnt/out"
touch "$stage/out/console.txt" "$root/dev/console"
mount --bind "$stage/out/console.txt" "$root/dev/console"

# pivot_root, not chroot: in a chroot no user namespace can be made, and PrivateUsers= ends in 217/USER.
cd "$root"
mkdir -p oldroot
pivot_root . oldroot
cd /
exec </dev/console >/dev/console 2>&1
umount -l /oldroot
rmdir /oldroot
mount --make-rshared /                    # else LoadCredential= gives an empty directory

if [ -e /mnt/out/prepare.sh ]; then
    bash -x /mnt/out/prepare.sh >/mnt/out/prepare.log 2>&1
fi

# From here on there is no network but loopback.
exec unshare --net bash -c 'ip link set lo up && exec "$@"' boot \
    /usr/bin/env -i container=tickd-proof PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        /lib/systemd/systemd --system --unit=proof.target --log-level=info --log-target=journal --show-status=no
