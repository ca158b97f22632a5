{{/*
`reloaderCompat`: an old values file of stakater/Reloader's chart, its names and labels.
Only its image is ours: image.name, repository, tag and digest there name the original's.
*/}}

{{/* The whole tree, as YAML. */}}
{{- define "reloader.values" -}}
{{- $defaults := .Files.Get "files/reloader.yaml" | fromYaml -}}
{{- toYaml (mergeOverwrite $defaults (deepCopy .Values.reloaderCompat)) -}}
{{- end -}}

{{- define "reloader.fullname" -}}
{{- $compat := .Values.reloaderCompat -}}
{{- $name := printf "%s-%s" .Release.Name ($compat.nameOverride | default "reloader") -}}
{{- $compat.fullnameOverride | default $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "reloader.namespace" -}}
{{- .Values.reloaderCompat.namespace | default .Release.Namespace -}}
{{- end -}}

{{/* What the Deployment selects by: another word here, and it could not be upgraded. */}}
{{- define "reloader.selectorLabels" -}}
{{- $values := include "reloader.values" . | fromYaml -}}
{{- $labels := dict "app" (include "reloader.fullname" .) "release" .Release.Name -}}
{{- toYaml (merge $labels (tpl (toYaml $values.reloader.matchLabels) . | fromYaml)) -}}
{{- end -}}

{{/* Metadata of an object: root; name (empty is the full one), namespace ("-" is none), labels, annotations. */}}
{{- define "reloader.metadata" -}}
{{- $root := .root -}}
{{- $labels := include "reloader.selectorLabels" $root | fromYaml -}}
{{- $chart := printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63 -}}
{{- $labels = merge $labels (dict
  "app.kubernetes.io/name" ($root.Values.reloaderCompat.nameOverride | default "reloader" | lower)
  "app.kubernetes.io/instance" $root.Release.Name
  "app.kubernetes.io/version" $root.Chart.AppVersion
  "app.kubernetes.io/managed-by" $root.Release.Service
  "helm.sh/chart" $chart) -}}
name: {{ .name | default (include "reloader.fullname" $root) | quote }}
{{- if ne (.namespace | default "") "-" }}
namespace: {{ .namespace | default (include "reloader.namespace" $root) | quote }}
{{- end }}
labels:
  {{- toYaml $labels | nindent 2 }}
  {{- range $key, $value := tpl (toYaml (.labels | default dict)) $root | fromYaml }}
  {{- if not (hasKey $labels $key) }}
  {{ $key }}: {{ $value | quote }}
  {{- end }}
  {{- end }}
{{- with .annotations }}
annotations:
  {{- tpl (toYaml .) $root | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "reloader.serviceAccountName" -}}
{{- $account := (include "reloader.values" . | fromYaml).reloader.serviceAccount -}}
{{- $account.name | default (ternary (include "reloader.fullname" .) "default" $account.create) -}}
{{- end -}}

{{- define "reloader.image" -}}
{{- $registry := dig "global" "imageRegistry" "" .Values.reloaderCompat -}}
{{- $global := merge (dict "imageRegistry" ($registry | default .Values.global.imageRegistry)) .Values.global -}}
{{- include "pilothouse.image" (dict "Chart" .Chart "Values" (dict "image" .Values.image "global" $global)) -}}
{{- end -}}

{{/* Where it works, as JSON of a list; none is everywhere. */}}
{{- define "reloader.namespaces" -}}
{{- $reloader := (include "reloader.values" . | fromYaml).reloader -}}
{{- $named := include "pilothouse.list" $reloader.namespaces | fromJsonArray -}}
{{- if and $reloader.watchGlobally $named -}}
{{- fail "reloaderCompat.reloader.namespaces is set but reloader.watchGlobally is true: set reloader.watchGlobally=false, or take the namespaces away" -}}
{{- else if $reloader.watchGlobally -}}
[]
{{- else -}}
{{- concat (list (include "reloader.namespace" .)) $named | uniq | sortAlpha | toJson -}}
{{- end -}}
{{- end -}}

{{- define "reloader.isHa" -}}
{{- $reloader := (include "reloader.values" . | fromYaml).reloader -}}
{{- if or $reloader.enableHA (gt (int $reloader.deployment.replicas) 1) }}true{{ end -}}
{{- end -}}

{{/* The arguments, as YAML of a list. */}}
{{- define "reloader.args" -}}
{{- $r := (include "reloader.values" . | fromYaml).reloader -}}
- reloader
{{- with $r.logFormat }}
- {{ printf "--log-format=%s" . | quote }}
{{- end }}
{{- with $r.logLevel }}
- {{ printf "--log-level=%s" . | quote }}
{{- end }}
{{- if $r.ignoreSecrets }}
- --resources-to-ignore=secrets
{{- end }}
{{- if $r.ignoreConfigMaps }}
- --resources-to-ignore=configmaps
{{- end }}
{{- with include "reloader.ignoredWorkloads" $r }}
- --ignored-workload-types={{ . }}
{{- end }}
{{- if $r.namespaces }}
- {{ printf "--namespaces=%s" (include "reloader.namespaces" . | fromJsonArray | join ",") | quote }}
{{- end }}
{{- if and $r.ignoreNamespaces $r.watchGlobally }}
- {{ printf "--namespaces-to-ignore=%s" $r.ignoreNamespaces | quote }}
{{- end }}
{{- if and $r.namespaceSelector $r.watchGlobally }}
- {{ printf "--namespace-selector=%q" $r.namespaceSelector | quote }}
{{- end }}
{{- with $r.resourceLabelSelector }}
- {{ printf "--resource-label-selector=%s" . | quote }}
{{- end }}
{{- if $r.enablePProf }}
- --enable-pprof
{{- with $r.pprofAddr }}
- {{ printf "--pprof-addr=%s" . | quote }}
{{- end }}
{{- end }}
{{- if $r.enableCSIIntegration }}
- --enable-csi-integration=true
{{- end }}
{{- range $flag := list
  (list "configmap" "configmap-annotation")
  (list "secret" "secret-annotation")
  (list "auto" "auto-annotation")
  (list "secret_auto" "secret-auto-annotation")
  (list "configmap_auto" "configmap-auto-annotation")
  (list "search" "auto-search-annotation")
  (list "match" "search-match-annotation")
  (list "ignore" "ignore-annotation")
  (list "pausePeriod" "pause-deployment-annotation")
  (list "pauseTime" "pause-deployment-time-annotation") }}
{{- with get $r.custom_annotations (first $flag) }}
- --{{ last $flag }}
- {{ . | quote }}
{{- end }}
{{- end }}
{{- with $r.webhookUrl }}
- --webhook-url
- {{ . | quote }}
{{- end }}
{{- range $flag := list
  (list "isArgoRollouts" "is-Argo-Rollouts")
  (list "reloadOnCreate" "reload-on-create")
  (list "reloadOnDelete" "reload-on-delete")
  (list "syncAfterRestart" "sync-after-restart") }}
{{- if get $r (first $flag) }}
- --{{ last $flag }}=true
{{- end }}
{{- end }}
{{- if ne $r.reloadStrategy "default" }}
- {{ printf "--reload-strategy=%s" $r.reloadStrategy | quote }}
{{- end }}
{{- if include "reloader.isHa" . }}
- --enable-ha=true
{{- end }}
{{- if $r.autoReloadAll }}
- --auto-reload-all=true
{{- end }}
{{- end -}}

{{- define "reloader.ignoredWorkloads" -}}
{{- $ignored := list -}}
{{- if .ignoreJobs -}}{{- $ignored = append $ignored "jobs" -}}{{- end -}}
{{- if .ignoreCronJobs -}}{{- $ignored = append $ignored "cronjobs" -}}{{- end -}}
{{- join "," $ignored -}}
{{- end -}}

{{/* The words of files/roles.yaml that these values say, as JSON of a list. */}}
{{- define "reloader.off" -}}
{{- $r := (include "reloader.values" . | fromYaml).reloader -}}
{{- $off := list -}}
{{- if $r.ignoreSecrets -}}{{- $off = append $off "secrets" -}}{{- end -}}
{{- if $r.ignoreConfigMaps -}}{{- $off = append $off "configmaps" -}}{{- end -}}
{{- if $r.ignoreJobs -}}{{- $off = append $off "jobs" -}}{{- end -}}
{{- if $r.ignoreCronJobs -}}{{- $off = append $off "cronjobs" -}}{{- end -}}
{{- if and $r.ignoreJobs $r.ignoreCronJobs -}}{{- $off = append $off "jobsOfAnyKind" -}}{{- end -}}
{{- if not $r.watchGlobally -}}{{- $off = append $off "namespaces" -}}{{- end -}}
{{- if not $r.enableCSIIntegration -}}{{- $off = append $off "csi" -}}{{- end -}}
{{- if not (include "reloader.isHa" .) -}}{{- $off = append $off "ha" -}}{{- end -}}
{{- toJson $off -}}
{{- end -}}
