{{- define "pipecat-genesys.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{- define "pipecat-genesys.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "pipecat-genesys.labels" -}}
{{ include "pipecat-genesys.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "pipecat-genesys.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- define "pipecat-genesys.secret" -}}
{{ .Values.secret.existingSecret | default (include "pipecat-genesys.name" .) }}
{{- end }}

{{- define "pipecat-genesys.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (include "pipecat-genesys.name" .) }}
{{- end }}

{{- define "pipecat-genesys.gracePeriod" -}}
{{- with .Values.drain -}}
{{- add .preStopSeconds .graceSeconds .seconds .marginSeconds -}}
{{- end -}}
{{- end }}

{{- /* Checks that a JSON schema cannot express. */ -}}
{{- define "pipecat-genesys.check" -}}
{{- $most := .Values.autoscaling.enabled | ternary .Values.autoscaling.maxReplicas .Values.replicas -}}
{{- if and (not .Values.redis.enabled) (gt (int $most) 1) -}}
{{- fail (printf "redis.enabled is false with up to %d pods: a signed request could be replayed to another pod. Enable redis, or set autoscaling.enabled=false and replicas=1" (int $most)) -}}
{{- end -}}
{{- if .Values.autoscaling.enabled -}}
{{- if gt (int .Values.autoscaling.targetActiveCalls) (int .Values.bot.maxCalls) -}}
{{- fail (printf "autoscaling.targetActiveCalls is %d, more than bot.maxCalls, which is %d: pods would be full before others are added. Set it to about 70 %% of maxCalls" (int .Values.autoscaling.targetActiveCalls) (int .Values.bot.maxCalls)) -}}
{{- end -}}
{{- if gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas) -}}
{{- fail (printf "autoscaling.minReplicas is %d, more than maxReplicas, which is %d" (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) -}}
{{- end -}}
{{- end -}}
{{- if not .Values.secret.existingSecret -}}
{{- $keys := list "apiKey" "clientSecret" -}}
{{- if .Values.redis.enabled }}{{ $keys = append $keys "redisUrl" }}{{ end -}}
{{- range $keys -}}
{{- if not (get $.Values.secret .) -}}
{{- fail (printf "secret.%s is empty. Set it, or set secret.existingSecret to the name of an existing Secret" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}
