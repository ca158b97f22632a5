#!/bin/bash
# Have the system's own I/O go before that of pods, on the disks that swap and root use.
#
# io.latency is set for each physical disk below a device, so it is found out on the
# Node: drop-ins under /run, which are gone with the next boot.
set -euo pipefail

readonly SYSTEM_TARGET=5ms PODS_TARGET=50ms

# The physical disks below a block device: through partitions, LVM, LUKS and RAID.
disks_of() {
  lsblk --inverse --noheadings --list --output PATH,TYPE "$1" 2>/dev/null \
    | awk '$2 == "disk" { print $1 }'
}

# The block devices that swap is on, and for a swap file the one that has the file.
swap_devices() {
  local name kind
  while read -r name kind _; do
    if [[ $kind == partition ]]; then
      echo "$name"
    elif [[ $kind == file ]]; then
      findmnt --noheadings --output SOURCE --target "$name" | sed 's/\[.*//'
    fi
  done < <(tail -n +2 /proc/swaps)
}

# The disk of the root: / itself is an overlay on these systems.
root_device() {
  findmnt --noheadings --output SOURCE --target /var | sed 's/\[.*//'
}

write_dropin() {
  local slice=$1 target=$2 folder disk
  folder=/run/systemd/system/${slice}.d
  mkdir -p "$folder"
  {
    echo "[Slice]"
    for disk in "${disks[@]}"; do
      echo "IODeviceLatencyTargetSec=${disk} ${target}"
    done
  } >"${folder}/50-io-latency.conf"
}

mapfile -t disks < <({ swap_devices; root_device; } | while read -r device; do
  disks_of "$device"
done | sort -u)

if ((${#disks[@]} == 0)); then
  echo "no physical disk found below swap or root: nothing to protect"
  exit 0
fi
write_dropin system.slice "$SYSTEM_TARGET"
write_dropin kubepods.slice "$PODS_TARGET"
systemctl daemon-reload
echo "latency targets on: ${disks[*]}"
