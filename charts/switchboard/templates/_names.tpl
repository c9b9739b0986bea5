{{/* Names and labels. Services, and with them everything else, have fixed names: sidecars dial them. */}}

{{- define "switchboard.namespace" -}}
{{ .Values.namespaceOverride | default .Release.Namespace }}
{{- end }}

{{/* Labels of an object: (dict "root" $ "component" "gateway", and "more" labels). What the chart sets wins */}}
{{- define "switchboard.labels" -}}
{{- $ours := include "switchboard.selector" . | fromYaml }}
{{- $_ := set $ours "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_") }}
{{- $_ := set $ours "app.kubernetes.io/version" .root.Chart.AppVersion }}
{{- $_ := set $ours "app.kubernetes.io/managed-by" .root.Release.Service }}
{{- $_ := set $ours "app.kubernetes.io/part-of" "switchboard" }}
{{- toYaml (mergeOverwrite dict .root.Values.commonLabels (.more | default dict) $ours) }}
{{- end }}

{{/* What selects the pods of a component, for ever the same */}}
{{- define "switchboard.selector" -}}
app.kubernetes.io/name: switchboard
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* ServiceAccount of a component: (dict "values" .Values.gateway "component" "gateway") */}}
{{- define "switchboard.serviceAccount" -}}
{{ .values.serviceAccount.name | default (printf "switchboard-%s" .component) }}
{{- end }}

{{/* An image's reference: (dict "root" $ "image" .Values.gateway.image) */}}
{{- define "switchboard.image" -}}
{{- with .root.Values.image.registry }}{{ trimSuffix "/" . }}/{{ end -}}
{{ .image.repository }}:{{ .image.tag | default .root.Values.image.tag | default .root.Chart.AppVersion }}
{{- with .image.digest }}@{{ . }}{{ end }}
{{- end }}

{{/* Where the gateway looks for an agent whose caller names no namespace */}}
{{- define "switchboard.defaultNamespace" -}}
{{ .Values.gateway.defaultNamespace | default (first .Values.watchNamespaces) | default "default" }}
{{- end }}

{{/* Namespaces that get Roles of their own, as a JSON list; fails on a contradiction */}}
{{- define "switchboard.roleNamespaces" -}}
{{- if not .Values.watchNamespaces }}
{{- fail "rbac.namespaced needs watchNamespaces: list the namespaces whose Agents and AgentNodes are to be served" }}
{{- end }}
{{- .Values.watchNamespaces | uniq | toJson }}
{{- end }}
