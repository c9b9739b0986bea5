{{/* What operator and gateway may do: every rule is one that the code needs. docs/reference/rbac.md says what for. */}}

{{/* In every namespace that is served */}}
{{- define "switchboard.operatorRules" -}}
- apiGroups: [switchboard.dev]
  resources: [agents]
  verbs: [list, watch]
# The operator makes and changes the AgentNode of an Agent with an inline node
- apiGroups: [switchboard.dev]
  resources: [agentnodes]
  verbs: [get, list, watch, create, patch]
- apiGroups: [switchboard.dev]
  resources: [agents/status, agentnodes/status, agentnodes/scale]
  verbs: [patch]
# Where OwnerReferencesPermissionEnforcement is on, owning an object needs this of the owner
- apiGroups: [switchboard.dev]
  resources: [agents/finalizers, agentnodes/finalizers]
  verbs: [update]
# What an AgentNode owns goes with it, by the garbage collector's hand; an autoscaler also when it is turned off
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch]
- apiGroups: [""]
  resources: [services, serviceaccounts, configmaps]
  verbs: [get, list, watch, create, patch]
# Patched is one annotation, the deletion cost: it says which pods go when a pool shrinks
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch, patch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [list, watch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end }}

{{/* In the operator's own namespace: the Lease that decides which replica writes, its certificate authority */}}
{{- define "switchboard.operatorOwnRules" -}}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [switchboard-operator]
  verbs: [get, update]
{{- $ownCa := and .Values.tls.enabled (not .Values.tls.certManager.enabled) }}
{{- if or $ownCa (include "switchboard.metricsApis" . | fromJsonArray) }}
# The certificate authority of the ports that it serves
- apiGroups: [""]
  resources: [secrets]
  resourceNames: [switchboard-ca]
  verbs: [get, update]
- apiGroups: [""]
  resources: [secrets]
  verbs: [create]
{{- end }}
{{- if $ownCa }}
- apiGroups: [""]
  resources: [secrets]
  resourceNames: [switchboard-gateway-tls]
  verbs: [get, update]
{{- end }}
{{- if .Values.tls.enabled }}
# Which pods are gateways
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [list, watch]
{{- end }}
# A name cannot restrict create
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
{{- end }}

{{/* In the gateways' own namespace: which pods are gateways, to learn the own zone and to know one another */}}
{{- define "switchboard.gatewayOwnRules" -}}
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [list, watch]
{{- end }}

{{/* In every namespace that is served: reads, and Events about circuits */}}
{{- define "switchboard.gatewayRules" -}}
- apiGroups: [switchboard.dev]
  resources: [agents, agentnodes]
  verbs: [list, watch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [list, watch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end }}
