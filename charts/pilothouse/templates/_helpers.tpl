{{/*
What other templates include. Those that return YAML are read back with fromYaml.
*/}}

{{- define "pilothouse.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/*
Name of every object: the release's, and the chart's if it is not in that already. A
release may have dots in its name, a Service may not.
*/}}
{{- define "pilothouse.fullname" -}}
{{- $name := include "pilothouse.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | replace "." "-" | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | replace "." "-" | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "pilothouse.selectorLabels" -}}
app.kubernetes.io/name: {{ include "pilothouse.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "pilothouse.chartLabels" -}}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 }}
{{- end -}}

{{/*
Metadata of an object.
  root         the top
  name         of the object; empty is the name of everything
  namespace    of the object; "" is the release's, "-" is none
  labels, annotations  more of them, which win
*/}}
{{- define "pilothouse.metadata" -}}
{{- $root := .root -}}
{{- $own := concat (list (include "pilothouse.selectorLabels" $root)) (list (include "pilothouse.chartLabels" $root)) | join "\n" | fromYaml -}}
{{- $labels := merge (dict) (.labels | default dict) ($root.Values.commonLabels | default dict) -}}
{{- $annotations := merge (dict) (.annotations | default dict) ($root.Values.commonAnnotations | default dict) -}}
name: {{ .name | default (include "pilothouse.fullname" $root) | quote }}
{{- if ne (.namespace | default "") "-" }}
namespace: {{ .namespace | default $root.Release.Namespace | quote }}
{{- end }}
labels:
  {{- toYaml (merge (dict) $own $labels) | nindent 2 }}
{{- with $annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "pilothouse.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "pilothouse.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{/* ------------------------------------------------------------------ image */}}

{{- define "pilothouse.imageTag" -}}
{{- coalesce .Values.global.imageTag .Values.image.tag (printf "v%s" .Chart.AppVersion) -}}
{{- end -}}

{{- define "pilothouse.image" -}}
{{- $repository := .Values.image.repository -}}
{{- with .Values.global.imageRegistry -}}
{{- $repository = printf "%s/%s" (trimSuffix "/" .) (regexReplaceAll "^[^/]*[.:][^/]*/" $repository "") -}}
{{- end -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" $repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository (include "pilothouse.imageTag" .) -}}
{{- end -}}
{{- end -}}

{{- define "pilothouse.imagePullPolicy" -}}
{{- $isLatest := and (eq (include "pilothouse.imageTag" .) "latest") (not .Values.image.digest) -}}
{{- coalesce .Values.global.imagePullPolicy .Values.image.pullPolicy (ternary "Always" "IfNotPresent" $isLatest) -}}
{{- end -}}

{{/* A list of names or of {name}, as a list of {name}. */}}
{{- define "pilothouse.imagePullSecrets" -}}
{{- range . }}
- name: {{ ternary . (get (ternary (dict) . (kindIs "string" .)) "name") (kindIs "string" .) | quote }}
{{- end }}
{{- end -}}

{{/* ------------------------------------------------------------------ settings */}}

{{/* A list, or a text with commas, as YAML of a list. */}}
{{- define "pilothouse.list" -}}
{{- $items := . | default list -}}
{{- if kindIs "string" $items -}}{{- $items = splitList "," $items -}}{{- end -}}
{{- $names := list -}}
{{- range $items -}}
{{- with . | toString | trim -}}{{- $names = append $names . -}}{{- end -}}
{{- end -}}
{{- $names | uniq | toJson -}}
{{- end -}}

{{- define "pilothouse.controllers" -}}
{{- .Values.controllers | default (list "reload" "bundle" "release" "autopilot") | toJson -}}
{{- end -}}

{{- define "pilothouse.isElecting" -}}
{{- $given := dig "leaderElection" "enabled" .Values.leaderElection.enabled .Values.operator -}}
{{- if kindIs "bool" $given -}}
{{- ternary "true" "" $given -}}
{{- else if gt (int .Values.replicaCount) 1 -}}
true
{{- end -}}
{{- end -}}

{{/* The alert that a values file of reloader-operator asks for: YAML of it and its sink. */}}
{{- define "pilothouse.alert" -}}
{{- $sinks := dict "slack" "slack" "teams" "teams" "googleChat" "gchat" "customWebhook" "json" -}}
{{- $found := dict -}}
{{- if .Values.alerts.enabled -}}
{{- range tuple "customWebhook" "googleChat" "teams" "slack" -}}
{{- $alert := get $.Values.alerts . | default dict -}}
{{- if $alert.enabled -}}{{- $found = merge (dict "sink" (get $sinks .)) $alert -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $found -}}
{{- end -}}

{{/* The file of --config. */}}
{{- define "pilothouse.settings" -}}
{{- $v := .Values -}}
{{- $everywhere := include "pilothouse.list" ($v.operator.watchNamespaces | default $v.namespaces) | fromJsonArray -}}
{{- $settings := dict
  "metrics-bind-address" (ternary (printf ":%d" (int $v.metrics.port)) "0" $v.metrics.enabled)
  "metrics-secure" $v.metrics.secure
  "health-probe-bind-address" ":8081"
  "graceful-shutdown-timeout" $v.gracefulShutdownTimeout
  "leader-elect" (eq (include "pilothouse.isElecting" .) "true")
  "leader-election-name" (include "pilothouse.fullname" .)
  "log-level" ($v.operator.logLevel | default $v.logLevel)
  "log-format" $v.logFormat -}}
{{- with $v.controllers -}}{{- $_ := set $settings "controllers" . -}}{{- end -}}
{{- if and $v.metrics.secure $v.metrics.certificateSecret -}}
{{- $_ := set $settings "metrics-cert-path" "/etc/pilothouse/metrics" -}}
{{- end -}}
{{- range $name := include "pilothouse.controllers" . | fromJsonArray -}}
{{- $section := dict -}}
{{- if and $everywhere (ne $name "autopilot") -}}{{- $_ := set $section "namespaces" $everywhere -}}{{- end -}}
{{- if eq $name "reload" -}}
{{- with $v.operator.maxConcurrentReconciles -}}{{- $_ := set $section "workers" (int .) -}}{{- end -}}
{{- with include "pilothouse.alert" $ | fromYaml -}}
{{- $_ := set $section "alert-on-reload" true -}}
{{- $_ := set $section "alert-sink" .sink -}}
{{- end -}}
{{- end -}}
{{- range $key, $value := get $v $name -}}{{- $_ := set $section (kebabcase $key) $value -}}{{- end -}}
{{- with $section -}}{{- $_ := set $settings $name . -}}{{- end -}}
{{- end -}}
{{- toYaml $settings -}}
{{- end -}}

{{/* ------------------------------------------------------------------ roles */}}

{{/* Rules of files/roles.yaml that are needed when some words are said: groups, off. */}}
{{- define "pilothouse.rules" -}}
{{- $off := .off -}}
{{- $rules := list -}}
{{- range .groups -}}
{{- $isOff := false -}}
{{- range .unless -}}{{- if has . $off -}}{{- $isOff = true -}}{{- end -}}{{- end -}}
{{- if not $isOff -}}{{- $rules = concat $rules .rules -}}{{- end -}}
{{- end -}}
{{- toJson $rules -}}
{{- end -}}

{{/* The words of files/roles.yaml that a section of the settings says. */}}
{{- define "pilothouse.off" -}}
{{- $words := concat
  (include "pilothouse.list" (get . "resources-to-ignore") | fromJsonArray)
  (include "pilothouse.list" (get . "ignored-workload-types") | fromJsonArray) -}}
{{- if and (has "jobs" $words) (has "cronjobs" $words) -}}{{- $words = append $words "jobsOfAnyKind" -}}{{- end -}}
{{- if include "pilothouse.list" .namespaces | fromJsonArray -}}{{- $words = append $words "namespaces" -}}{{- end -}}
{{- if get . "dry-run" -}}{{- $words = append $words "dryRun" -}}{{- end -}}
{{- if eq (toString (get . "optional-kinds")) "false" -}}{{- $words = append $words "optionalKinds" -}}{{- end -}}
{{- if eq (toString (get . "watch-values")) "false" -}}{{- $words = append $words "watchValues" -}}{{- end -}}
{{- toJson $words -}}
{{- end -}}

{{/* cluster: rules of the ClusterRole; namespaced: namespace → rules of a Role there. */}}
{{- define "pilothouse.roles" -}}
{{- $table := .Files.Get "files/roles.yaml" | fromYaml -}}
{{- $settings := include "pilothouse.settings" . | fromYaml -}}
{{- $cluster := .Values.rbac.extraRules | default list -}}
{{- $namespaced := dict -}}
{{- range $name := include "pilothouse.controllers" . | fromJsonArray -}}
{{- $section := get $settings $name | default dict -}}
{{- $off := include "pilothouse.off" $section | fromJsonArray -}}
{{- $needs := get $table.controllers $name -}}
{{- $rules := include "pilothouse.rules" (dict "groups" $needs.namespaced "off" $off) | fromJsonArray -}}
{{- $cluster = include "pilothouse.rules" (dict "groups" $needs.cluster "off" $off) | fromJsonArray | concat $cluster -}}
{{- $places := include "pilothouse.list" $section.namespaces | fromJsonArray -}}
{{- range $places -}}
{{- $_ := set $namespaced . (concat (get $namespaced . | default list) $rules | uniq) -}}
{{- end -}}
{{- if not $places -}}{{- $cluster = concat $cluster $rules -}}{{- end -}}
{{- end -}}
{{- if and .Values.metrics.enabled .Values.metrics.secure -}}{{- $cluster = concat $cluster $table.metrics -}}{{- end -}}
{{- if include "pilothouse.isElecting" . -}}
{{- $home := get $namespaced .Release.Namespace | default list -}}
{{- range $table.election -}}
{{- if .resourceNames -}}{{- $_ := set . "resourceNames" (list (include "pilothouse.fullname" $)) -}}{{- end -}}
{{- end -}}
{{- $_ := set $namespaced .Release.Namespace (concat $home $table.election) -}}
{{- end -}}
{{- if .Values.rbac.namespacedOnly -}}
{{- range $place, $rules := $namespaced -}}
{{- $_ := set $namespaced $place (concat $rules ($.Values.rbac.extraRules | default list)) -}}
{{- end -}}
{{- $cluster = list -}}
{{- end -}}
{{- dict "cluster" (uniq $cluster) "namespaced" $namespaced | toYaml -}}
{{- end -}}
