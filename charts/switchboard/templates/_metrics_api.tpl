{{/* The metrics APIs that the operator serves, as a JSON list of "custom" and "external". One that another provider
has on this cluster is left to it by Auto; only an install can see that, `helm template` cannot. */}}
{{- define "switchboard.metricsApis" -}}
{{- $served := list }}
{{- $ours := printf "%s/switchboard-metrics" (include "switchboard.namespace" .) }}
{{- $apis := dict "custom" (list "v1beta1.custom.metrics.k8s.io" "v1beta2.custom.metrics.k8s.io") "external" (list "v1beta1.external.metrics.k8s.io") }}
{{- range $word, $names := $apis }}
  {{- $mode := index $.Values.metricsApi $word }}
  {{- if and $.Values.rbac.namespaced (eq $mode "Always") }}
    {{- fail (printf "metricsApi.%s is an API of the whole cluster: use Never with rbac.namespaced, or install without it" $word) }}
  {{- end }}
  {{- $isFree := not $.Values.rbac.namespaced }}
  {{- if and $isFree (eq $mode "Auto") }}
    {{- range $name := $names }}
      {{- with lookup "apiregistration.k8s.io/v1" "APIService" "" $name }}
        {{- $service := .spec.service | default dict }}
        {{- if ne $ours (printf "%s/%s" $service.namespace $service.name) }}{{ $isFree = false }}{{ end }}
      {{- end }}
    {{- end }}
  {{- end }}
  {{- if and $isFree (ne $mode "Never") }}{{ $served = append $served $word }}{{ end }}
{{- end }}
{{- $served | sortAlpha | toJson }}
{{- end }}
