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
app.kubernetes.io/name: {{ include "computepool.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "computepool.labels" -}}
{{ include "computepool.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" | quote }}
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
{{- if not .repository -}}
{{- fail "image.repository is empty: build the image from the Dockerfile, push it to a registry of yours, and set image.repository to the place, because no image of ComputePool is published yet" -}}
{{- end -}}
{{- /* The chart of a release names its image in an annotation. A tag or another repository is another image. */}}
{{- $released := index $.Chart.Annotations "computepool.io/image" -}}
{{- if .digest -}}
{{- printf "%s@%s" .repository .digest -}}
{{- else if and (not .tag) (hasPrefix (printf "%s@" .repository) $released) -}}
{{- $released -}}
{{- else -}}
{{- printf "%s:%s" .repository (default $.Chart.AppVersion .tag) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- /*
"true" if an object of an API is to be rendered that not every cluster has; else empty, or an error, as whenMissing says.
Takes: root, api, value (the path of the group of values), whenMissing, and instead (how the cluster gets the API).
*/}}
{{- define "computepool.isRendered" -}}
{{- if .root.Capabilities.APIVersions.Has .api -}}
true
{{- else if eq .whenMissing "Render" -}}
true
{{- else if eq .whenMissing "Fail" -}}
{{- fail (printf "%s.enabled, but this cluster has no %s: %s, or set %s.whenMissing to Skip or Render" .value (base .api) .instead .value) -}}
{{- end -}}
{{- end }}

{{- /* "true" where the admission policy is wanted and the cluster can have it; else empty. */}}
{{- define "computepool.hasAdmissionPolicy" -}}
{{- with .Values.admissionPolicy -}}
{{- if .enabled -}}
{{- include "computepool.isRendered" (dict "root" $ "api" "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy" "value" "admissionPolicy" "whenMissing" (default "Skip" .whenMissing) "instead" "use Kubernetes 1.36 or later") -}}
{{- end -}}
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

{{- /* Annotations of hooks. Takes: event, and weight, by which Helm orders them. */}}
{{- define "computepool.hook" -}}
helm.sh/hook: {{ .event }}
helm.sh/hook-weight: {{ .weight | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}

{{- /*
The spec of a Job that runs a command of the operator's image once. Takes: root, name (of its ServiceAccount), component,
args, seconds, retries and tolerations.
*/}}
{{- define "computepool.jobSpec" -}}
backoffLimit: {{ .retries }}
# A Job that can't run must not hold Helm up for long.
activeDeadlineSeconds: {{ .seconds }}
# A failed Job stays for a while, so that its logs can be read, and is then deleted.
ttlSecondsAfterFinished: 3600
template:
  metadata:
    labels:
      {{- /* These labels must differ from the labels by which the operator's pods are selected. */}}
      app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
      app.kubernetes.io/component: {{ .component | quote }}
  spec:
    restartPolicy: Never
    serviceAccountName: {{ .name | quote }}
    automountServiceAccountToken: true
    enableServiceLinks: false
    {{- with .root.Values.imagePullSecrets }}
    imagePullSecrets:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with .root.Values.priorityClassName }}
    priorityClassName: {{ . | quote }}
    {{- end }}
    {{- with .root.Values.podSecurityContext }}
    securityContext:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with .root.Values.nodeSelector }}
    nodeSelector:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with concat .tolerations (.root.Values.tolerations | default list) }}
    tolerations:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with .root.Values.affinity }}
    affinity:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    containers:
      - name: {{ .component | quote }}
        image: {{ include "computepool.image" .root | quote }}
        imagePullPolicy: {{ .root.Values.image.pullPolicy }}
        args: {{ toJson .args }}
        {{- with .root.Values.extraEnv }}
        env:
          {{- toYaml . | nindent 10 }}
        {{- end }}
        {{- with .root.Values.resources }}
        resources:
          {{- toYaml . | nindent 10 }}
        {{- end }}
        {{- with .root.Values.securityContext }}
        securityContext:
          {{- toYaml . | nindent 10 }}
        {{- end }}
{{- end }}

{{- /* Address of the source of metrics; empty without a source, and where the values are those of a chart without one. */}}
{{- define "computepool.prometheusUrl" -}}
{{- with .Values.prometheus }}{{ .url }}{{ end -}}
{{- end }}

{{- /* Where the configuration of the source of metrics and its credentials are mounted. */}}
{{- define "computepool.prometheusFolder" -}}
/etc/computepool/prometheus
{{- end }}

{{- /* The configuration of the source of metrics. It names files with credentials, and contains none. */}}
{{- define "computepool.prometheusConfig" -}}
{{- $folder := include "computepool.prometheusFolder" . -}}
{{- with .Values.prometheus -}}
url: {{ .url | quote }}
timeoutSeconds: {{ .timeoutSeconds }}
intervalSeconds: {{ .intervalSeconds }}
headers: {{ toJson .headers }}
queryParameters: {{ toJson .queryParameters }}
enforcedLabels: {{ toJson .enforcedLabels }}
{{- if .bearerToken.secretName }}
bearerTokenFile: {{ $folder }}/bearer-token
{{- end }}
{{- if .basicAuth.secretName }}
basicAuth: {usernameFile: {{ $folder }}/username, passwordFile: {{ $folder }}/password}
{{- end }}
{{- if or .ca.secretName .ca.configMapName }}
caFile: {{ $folder }}/ca.crt
{{- end }}
{{- if .clientCertificate.secretName }}
clientCertificate: {certFile: {{ $folder }}/tls.crt, keyFile: {{ $folder }}/tls.key}
{{- end }}
{{- if .secretHeaders }}
headerFiles:
  {{- range $index, $name := keys .secretHeaders | sortAlpha }}
  {{ $name | quote }}: {{ $folder }}/header-{{ $index }}
  {{- end }}
{{- end }}
{{- end -}}
{{- end }}

{{- /* The sources of the volume with that configuration and the credentials. The kubelet replaces files that change. */}}
{{- define "computepool.prometheusVolume" -}}
- configMap: {name: {{ include "computepool.fullname" . }}-prometheus}
{{- with .Values.prometheus }}
{{- if .bearerToken.secretName }}
- secret: {name: {{ .bearerToken.secretName | quote }}, items: [{key: {{ .bearerToken.key | quote }}, path: bearer-token}]}
{{- end }}
{{- if .basicAuth.secretName }}
- secret:
    name: {{ .basicAuth.secretName | quote }}
    items:
      - {key: {{ .basicAuth.usernameKey | quote }}, path: username}
      - {key: {{ .basicAuth.passwordKey | quote }}, path: password}
{{- end }}
{{- if .ca.secretName }}
- secret: {name: {{ .ca.secretName | quote }}, items: [{key: {{ .ca.key | quote }}, path: ca.crt}]}
{{- else if .ca.configMapName }}
- configMap: {name: {{ .ca.configMapName | quote }}, items: [{key: {{ .ca.key | quote }}, path: ca.crt}]}
{{- end }}
{{- if .clientCertificate.secretName }}
- secret:
    name: {{ .clientCertificate.secretName | quote }}
    items:
      - {key: {{ .clientCertificate.certKey | quote }}, path: tls.crt}
      - {key: {{ .clientCertificate.keyKey | quote }}, path: tls.key}
{{- end }}
{{- range $index, $name := keys .secretHeaders | sortAlpha }}
{{- with get $.Values.prometheus.secretHeaders $name }}
- secret: {name: {{ .secretName | quote }}, items: [{key: {{ .key | quote }}, path: header-{{ $index }}}]}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
