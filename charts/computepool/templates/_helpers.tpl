{{- /* Name of the chart, for labels. */}}
{{- define "computepool.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end }}

{{- /* Name of the release's objects. At most 52 characters, so that what is appended ("-metrics") still fits a label. */}}
{{- define "computepool.fullname" -}}
{{- $name := include "computepool.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{- define "computepool.selectorLabels" -}}
app.kubernetes.io/name: {{ include "computepool.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "computepool.labels" -}}
{{ include "computepool.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "computepool.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "computepool.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end }}

{{- /* The operator's user name, as the API server sees it. */}}
{{- define "computepool.username" -}}
{{- printf "system:serviceaccount:%s:%s" .Release.Namespace (include "computepool.serviceAccountName" .) -}}
{{- end }}

{{- define "computepool.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{- printf "%s@%s" .repository .digest -}}
{{- else -}}
{{- printf "%s:%s" .repository (default $.Chart.AppVersion .tag) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- /* "true" where the admission policy is wanted and the cluster can have it; else empty. */}}
{{- define "computepool.hasAdmissionPolicy" -}}
{{- if and .Values.admissionPolicy.enabled (.Capabilities.APIVersions.Has "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy") -}}
true
{{- end -}}
{{- end }}

{{- /* The keys of tolerations that may be added to pods, as a CEL list. */}}
{{- define "computepool.tolerationKeys" -}}
{{- .Values.guard.tolerationKeys | uniq | toJson -}}
{{- end }}

{{- /*
A CEL condition: the key in the CEL variable of that name belongs to Kubernetes or ComputePool. Users and policies set keys
of app.kubernetes.io and cluster-autoscaler.kubernetes.io by convention, so these are not among them.
*/}}
{{- define "computepool.isOwned" -}}
({{ . }}.matches(r'^([^/]+[.])?(computepool|kubernetes|k8s)[.]io/') && !{{ . }}.matches(r'^(app|cluster-autoscaler)[.]kubernetes[.]io/'))
{{- end }}

{{- /* Annotations of the cleanup's objects: hooks of the uninstall, in the order of the weight given. */}}
{{- define "computepool.cleanupHook" -}}
helm.sh/hook: post-delete
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}
