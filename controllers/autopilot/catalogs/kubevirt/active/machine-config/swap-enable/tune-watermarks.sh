#!/bin/bash
# Have the kernel reclaim memory before the kubelet evicts pods.
#
# kswapd wakes at the LOW watermark, the kubelet evicts at evictionHard memory.available.
# Where LOW is the lower one, pods are evicted that could have been swapped out. Above
# the kernel's MIN, LOW grows by managed memory * watermark_scale_factor / 10000.
set -euo pipefail

readonly DEFAULT_EVICTION_KIB=$((100 * 1024)) # the kubelet's own default, 100Mi
readonly HEADROOM_KIB=$((256 * 1024))
readonly LEAST=10 MOST=1000 # what the kernel takes, but for 3000

page_kib=$(($(getconf PAGE_SIZE) / 1024))
total_kib=$(awk '$1 == "MemTotal:" { print $2 }' /proc/meminfo)

# A quantity of the kubelet's configuration in KiB: 100Mi, 2Gi, 5%, plain bytes.
to_kib() {
  local number=${1%%[!0-9.]*} unit=${1##*[0-9.]}
  awk -v n="$number" -v unit="$unit" -v total="$total_kib" 'BEGIN {
    bytes["Ki"] = 1024; bytes["Mi"] = 1024^2; bytes["Gi"] = 1024^3; bytes["Ti"] = 1024^4
    bytes["k"] = 1e3; bytes["M"] = 1e6; bytes["G"] = 1e9; bytes["T"] = 1e12; bytes[""] = 1
    if (unit == "%") { printf "%d\n", total * n / 100; exit }
    if (!(unit in bytes)) exit 1
    printf "%d\n", n * bytes[unit] / 1024
  }'
}

hard_limits() {
  tr -d '\n' <"$1" | grep -oE '"evictionHard": *\{[^}]*\}' \
    || sed -n '/^evictionHard:/,/^[^ ]/p' "$1"
}

# What the kubelet evicts at, from its configuration, which is JSON or YAML.
eviction_kib() {
  local file found
  for file in /var/lib/kubelet/config.json /etc/kubernetes/kubelet.conf /var/lib/kubelet/config.yaml; do
    [[ -r $file ]] || continue
    found=$(hard_limits "$file" \
      | sed -nE 's/.*memory\.available"?: *"?([0-9.]+[A-Za-z%]*).*/\1/p' | head -n 1)
    if [[ -n $found ]] && to_kib "$found"; then
      return
    fi
  done
  echo "$DEFAULT_EVICTION_KIB"
}

# Pages of one kind over all zones, in KiB.
zones_kib() {
  awk -v field="$1" -v page="$page_kib" \
    'NF == 2 && $1 == field { pages += $2 } END { printf "%d\n", pages * page }' /proc/zoneinfo
}

min_kib=$(zones_kib min)
managed_kib=$(zones_kib managed)
eviction=$(eviction_kib)
share_kib=$((total_kib / 100))
margin_kib=$((share_kib > HEADROOM_KIB ? share_kib : HEADROOM_KIB))
wanted_kib=$((eviction + margin_kib - min_kib))

factor=$LEAST
if ((wanted_kib > 0 && managed_kib > 0)); then
  factor=$(((wanted_kib * 10000 + managed_kib - 1) / managed_kib)) # rounded up
fi
factor=$((factor < LEAST ? LEAST : factor))
factor=$((factor > MOST ? MOST : factor))

echo "eviction at ${eviction} KiB, MIN ${min_kib} KiB: watermark_scale_factor ${factor}"
sysctl -w "vm.watermark_scale_factor=${factor}"
