{{/* What the pods of operator and gateway share. Each takes (dict "root" $ "values" .Values.gateway "component" "gateway"). */}}

{{- define "switchboard.podMetadata" -}}
{{- with .values.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
labels:
  {{- include "switchboard.labels" (set (omit . "more") "more" .values.podLabels) | nindent 2 }}
{{- end }}

{{/* Everything of the pod's spec but its containers */}}
{{- define "switchboard.podSpec" -}}
serviceAccountName: {{ include "switchboard.serviceAccount" . }}
automountServiceAccountToken: true
enableServiceLinks: false
terminationGracePeriodSeconds: {{ .values.terminationGracePeriodSeconds }}
securityContext:
  {{- toYaml .root.Values.podSecurityContext | nindent 2 }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
topologySpreadConstraints:
{{- if .values.topologySpreadConstraints }}
  {{- toYaml .values.topologySpreadConstraints | nindent 2 }}
{{- else }}
  {{- $selector := include "switchboard.selector" . }}
  {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - topologyKey: {{ . }}
    maxSkew: 1
    whenUnsatisfiable: ScheduleAnyway
    # Of this revision's pods alone, so that a rolling update ends as even as it began
    matchLabelKeys: [pod-template-hash]
    labelSelector:
      matchLabels:
        {{- $selector | nindent 8 }}
  {{- end }}
{{- end }}
volumes:
  - name: tmp
    emptyDir:
      sizeLimit: 64Mi
  {{- if .root.Values.tls.enabled }}
  {{- if eq .component "gateway" }}
  - name: token
    projected:
      sources:
        - serviceAccountToken: {audience: switchboard, expirationSeconds: 3600, path: token}
  {{- end }}
  {{- if include "switchboard.mountsCertificate" . }}
  # The operator makes it; until then the pod waits
  - name: tls
    secret:
      secretName: switchboard-{{ .component }}-tls
      defaultMode: 0440
  {{- end }}
  {{- end }}
  {{- if and (eq .component "gateway") .root.Values.gateway.tls.secretName }}
  - name: client-tls
    secret:
      secretName: {{ include "switchboard.clientTlsSecret" .root }}
      defaultMode: 0440
  {{- end }}
{{- end }}

{{/* The Secret of the ports of clients; fails when it is there and is no certificate. One that is not there yet may come */}}
{{- define "switchboard.clientTlsSecret" -}}
{{- $name := .Values.gateway.tls.secretName }}
{{- $secret := lookup "v1" "Secret" (include "switchboard.namespace" .) $name }}
{{- if $secret }}
{{- range $key := list "tls.crt" "tls.key" }}
{{- if not (hasKey ($secret.data | default dict) $key) }}
{{- fail (printf "gateway.tls.secretName: Secret %s has no %s; it needs tls.crt and tls.key (kubectl create secret tls)" $name $key) }}
{{- end }}
{{- end }}
{{- end }}
{{- $name }}
{{- end }}

{{/* Whether a component has its certificate from a Secret: the operator signs its own in memory */}}
{{- define "switchboard.mountsCertificate" -}}
{{- if and .root.Values.tls.enabled (or (eq .component "gateway") .root.Values.tls.certManager.enabled) }}yes{{ end }}
{{- end }}

{{/* Everything of the container but its name, command, ports, lifecycle and the component's own environment */}}
{{- define "switchboard.container" -}}
image: {{ include "switchboard.image" (dict "root" .root "image" .values.image) | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext:
  {{- toYaml .root.Values.securityContext | nindent 2 }}
resources:
  {{- toYaml .values.resources | nindent 2 }}
startupProbe:
  httpGet: {path: /livez, port: ops}
  periodSeconds: 1
  timeoutSeconds: 3
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /livez, port: ops}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
readinessProbe:
  httpGet: {path: /readyz, port: ops}
  periodSeconds: 2
  timeoutSeconds: 3
  failureThreshold: 2
terminationMessagePolicy: FallbackToLogsOnError
volumeMounts:
  - name: tmp
    mountPath: /tmp
  {{- if and .root.Values.tls.enabled (eq .component "gateway") }}
  - name: token
    mountPath: /var/run/secrets/switchboard
    readOnly: true
  {{- end }}
  {{- if include "switchboard.mountsCertificate" . }}
  - name: tls
    mountPath: /etc/switchboard/tls
    readOnly: true
  {{- end }}
  {{- if and (eq .component "gateway") .root.Values.gateway.tls.secretName }}
  - name: client-tls
    mountPath: /etc/switchboard/client-tls
    readOnly: true
  {{- end }}
{{- end }}

{{- define "switchboard.env" -}}
- name: SWITCHBOARD_INSTANCE
  valueFrom:
    fieldRef: {fieldPath: metadata.name}
- name: SWITCHBOARD_POD_UID
  valueFrom:
    fieldRef: {fieldPath: metadata.uid}
- name: SWITCHBOARD_POD_IP
  valueFrom:
    fieldRef: {fieldPath: status.podIP}
- name: SWITCHBOARD_GATEWAYS
  value: {{ printf "switchboard-links.%s.svc:7410" (include "switchboard.namespace" .root) | quote }}
- name: SWITCHBOARD_REGISTRIES
  value: {{ printf "switchboard-registry.%s.svc:7420" (include "switchboard.namespace" .root) | quote }}
- name: SWITCHBOARD_WATCH_NAMESPACES
  value: {{ join "," .root.Values.watchNamespaces | quote }}
- name: SWITCHBOARD_POD_NAMESPACE
  valueFrom:
    fieldRef: {fieldPath: metadata.namespace}
{{- if .root.Values.tls.enabled }}
- name: SWITCHBOARD_CHECK_TOKENS
  value: "true"
{{- with .root.Values.tls.podTokens }}
{{- if eq .check "tokenReview" }}
- name: SWITCHBOARD_POD_TOKENS
  value: tokenReview
- name: SWITCHBOARD_POD_TOKENS_OUTAGE_SECONDS
  value: {{ .outageSeconds | quote }}
{{- end }}
{{- end }}
- name: SWITCHBOARD_CHECK_SOURCE
  value: {{ .root.Values.tls.checkSourceAddress | quote }}
{{- if .root.Values.tls.acceptPlainText }}
- name: SWITCHBOARD_PLAIN_TEXT
  value: accepted
{{- end }}
- name: SWITCHBOARD_TRUST_DOMAIN
  value: {{ .root.Values.tls.trustDomain | quote }}
{{- if include "switchboard.mountsCertificate" . }}
- name: SWITCHBOARD_TLS_FOLDER
  value: /etc/switchboard/tls
{{- end }}
{{- end }}
- name: SWITCHBOARD_LOG_LEVEL
  value: {{ .root.Values.log.level | quote }}
- name: SWITCHBOARD_LOG_FORMAT
  value: {{ .root.Values.log.format | quote }}
{{- end }}
