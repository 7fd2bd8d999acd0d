#!/bin/sh
# A machine with systemd in namespaces of its own: this system's files below a layer that is gone with it. $1: a folder to work in,
# $2: the package. Called by `unshare` with new namespaces for mounts, processes, names, IPC, network and control groups.
set -eu
work="$1"
package="$2"
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$work"
mkdir "$work/upper" "$work/scratch" "$work/root"
mount -t overlay -o "lowerdir=/,upperdir=$work/upper,workdir=$work/scratch" overlay "$work/root"
root="$work/root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
for place in run tmp dev; do
    mount -t tmpfs -o mode=755 tmpfs "$root/$place"
done
chmod 1777 "$root/tmp"
for name in null:3 zero:5 full:7 random:8 urandom:9; do
    mknod -m 666 "$root/dev/${name%%:*}" c 1 "${name##*:}"
done
mknod -m 666 "$root/dev/tty" c 5 0
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
cp "$package" "$root/run/pforte.deb"
# Nothing of this machine is of interest there: neither its devices nor its other services.
for unit in systemd-udevd.service systemd-udev-trigger.service systemd-udevd-control.socket systemd-udevd-kernel.socket \
    systemd-sysctl.service systemd-remount-fs.service systemd-tmpfiles-setup-dev.service; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
rm -rf "$root/etc/pforte" "$root/etc/pforte-site"
ip link set lo up
export container=pforte
cd "$root"
mkdir -p old
pivot_root . old
umount -l /old
exec /lib/systemd/systemd --system --unit=basic.target --log-target=journal --show-status=false
