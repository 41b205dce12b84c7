{{/* The name of all objects. A StatefulSet's pods have room for eleven characters more in their labels. */}}
{{- define "alerting.fullname" -}}
{{- $name := .Release.Name -}}
{{- if not (contains .Chart.Name $name) -}}
{{- $name = printf "%s-%s" $name .Chart.Name -}}
{{- end -}}
{{- .Values.fullnameOverride | default $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- define "alerting.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "alerting.labels" -}}
{{ include "alerting.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "alerting.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (ternary (include "alerting.fullname" .) "default" .Values.serviceAccount.create) -}}
{{- end -}}

{{/* A duration of the configuration (500ms, 90s, 15m, 1h, 7d, or a number) in whole seconds, rounded up.
     `of` is its setting, `is` what stands there, `else` the service's own default. */}}
{{- define "alerting.seconds" -}}
{{- $text := toString (ternary .else .is (kindIs "invalid" .is)) -}}
{{- if not (regexMatch "^[0-9]+([.][0-9]+)?(ms|s|m|h|d|)$" $text) -}}
{{- fail (printf "config.%s: the chart has to know it, so it cannot come from the environment" .of) -}}
{{- end -}}
{{- $unit := regexFind "[a-z]*$" $text -}}
{{- $factor := get (dict "ms" 0.001 "s" 1.0 "" 1.0 "m" 60.0 "h" 3600.0 "d" 86400.0) $unit -}}
{{- mulf (float64 (trimSuffix $unit $text)) $factor | ceil | int64 -}}
{{- end -}}

{{/* What of the values does not fit together. */}}
{{- define "alerting.check" -}}
{{- $alerting := ((.Values.config.exporters).alerting) | default dict -}}
{{- if not (or $alerting.pagerduty $alerting.opsgenie $alerting.jsm) -}}
{{- fail "config.exporters.alerting: name a provider, pagerduty, opsgenie or jsm; the service ends without one" -}}
{{- end -}}
{{- if .Values.networkPolicy.enabled -}}
{{- $open := list -}}
{{- range .Values.networkPolicy.kafkaPorts }}{{ $open = append $open (toString .) }}{{ end -}}
{{- range splitList "," .Values.config.kafka.bootstrap_servers -}}
{{- $port := regexFind "[0-9]+$" (trim .) -}}
{{- if and $port (not (has $port $open)) -}}
{{- fail (printf "networkPolicy.kafkaPorts: %s is missing, which config.kafka.bootstrap_servers names" $port) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if .Values.autoscaling.enabled -}}
{{- if not .Values.autoscaling.prometheusAddress -}}
{{- fail "autoscaling.prometheusAddress: is required" -}}
{{- end -}}
{{- if lt (int .Values.autoscaling.maxReplicas) (int .Values.autoscaling.minReplicas) -}}
{{- fail "autoscaling.maxReplicas: must not be less than minReplicas" -}}
{{- end -}}
{{- end -}}
{{- end -}}
