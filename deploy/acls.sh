#!/bin/sh
# The rights of the service at brokers that ask for them (ACLs): prints the commands of kafka-acls.sh, or runs them.
#
#   deploy/acls.sh --principal User:alerting                            print them, for the default names
#   deploy/acls.sh --principal User:alerting --run -- --command-config admin.properties
#                                                                       run them; what follows -- is for kafka-acls.sh
#
#   --principal P          whose rights (as Kafka names users: User:NAME)
#   --bootstrap-server S   default localhost:9092
#   --group-id G           kafka.group_id, default clawdstrike-alerting
#   --events T             kafka.topics.events, default clawdstrike.events
#   --prefix P             with what the topics of the service begin, default clawdstrike.alerting
#   --state, --keyed, --feedback, --history, --silences, --dlq T
#                          kafka.topics.…, where they are not PREFIX.state and so on
#   --ingest               also what `ingest` needs: to write events
#   --dlq-commands         also what `dlq list|show|replay` need: to read the dead letters, and to delete the groups of
#                          replays that are done
#   --silences-commands    also what `silences add|expire|import` need: to write silences
#   --create               also what `topics create` needs
#   --grow                 also what `topics grow` needs
#   --remove               take them away again
#   --run                  run the commands (KAFKA_ACLS, default kafka-acls.sh) in place of printing them
#
# README.md has them as a table; a test keeps the two the same.
set -eu

principal='' servers=localhost:9092 group=clawdstrike-alerting events=clawdstrike.events prefix=clawdstrike.alerting
state='' keyed='' feedback='' history='' silences='' dlq='' reads_dlq='' writes_silences='' writes_events='' creates='' grows='' change=--add run=''

usage() {
  sed -n '2,/^$/s/^# \{0,1\}//p' "$0" | sed '$d'
}

while [ $# -gt 0 ]; do
  case $1 in
    --principal | --bootstrap-server | --group-id | --events | --prefix | --state | --keyed | --feedback | --history | --silences | --dlq)
      [ $# -gt 1 ] || { echo "acls.sh: $1: which?" >&2; exit 2; }
      case $1 in
        --principal) principal=$2 ;;
        --bootstrap-server) servers=$2 ;;
        --group-id) group=$2 ;;
        --events) events=$2 ;;
        --prefix) prefix=$2 ;;
        --state) state=$2 ;;
        --keyed) keyed=$2 ;;
        --feedback) feedback=$2 ;;
        --history) history=$2 ;;
        --silences) silences=$2 ;;
        --dlq) dlq=$2 ;;
      esac
      shift 2
      ;;
    --ingest) writes_events=--operation\ Write; shift ;;
    --dlq-commands) reads_dlq=--operation\ Read; shift ;;
    --silences-commands) writes_silences=--operation\ Write; shift ;;
    --create) creates=--operation\ Create; shift ;;
    --grow) grows=--operation\ Alter; shift ;;
    --remove) change='--remove --force'; shift ;;
    --run) run=yes; shift ;;
    --help) usage; exit 0 ;;
    --) shift; break ;;
    *) echo "acls.sh: $1: no such option (--help)" >&2; exit 2 ;;
  esac
done
[ -n "$principal" ] || { echo "acls.sh: --principal: whose rights? (User:NAME)" >&2; exit 2; }
case "$principal$servers$group$events$prefix$state$keyed$feedback$history$silences$dlq" in
  *\'*) echo "acls.sh: a name with a quotation mark cannot be printed as a command" >&2; exit 2 ;;
esac
: "${state:=$prefix.state}" "${keyed:=$prefix.keyed}" "${feedback:=$prefix.feedback}"
: "${history:=$prefix.history}" "${silences:=$prefix.silences}" "${dlq:=$prefix.dlq}"

# allow RESOURCE NAME PATTERN OPERATION... -- whatever kafka-acls.sh is to be given besides
allow() {
  resource=$1 name=$2 pattern=$3
  shift 3
  if [ -n "$run" ]; then
    # shellcheck disable=SC2086
    "${KAFKA_ACLS:-kafka-acls.sh}" --bootstrap-server "$servers" $change --allow-principal "$principal" "$@" \
      "--$resource" "$name" --resource-pattern-type "$pattern"
  else
    echo "kafka-acls.sh --bootstrap-server $servers $change --allow-principal '$principal' $* --$resource '$name'" \
      "--resource-pattern-type $pattern"
  fi
}

read='--operation Read' write='--operation Write'
look='--operation Describe --operation DescribeConfigs' more="$creates $grows"
# shellcheck disable=SC2086
{
  allow topic "$events" literal $read $writes_events $look $more "$@"
  allow topic "$state" prefixed $read $write $look $more "$@"
  allow topic "$keyed" prefixed $read $write $look $more "$@"
  allow topic "$feedback" literal $read $write $look $more "$@"
  allow topic "$history" literal $read $write $look $more "$@"
  allow topic "$silences" literal $read $writes_silences $look $more "$@"
  allow topic "$dlq" literal $reads_dlq $write $look $more "$@"
  allow group "$group" prefixed $read --operation Describe "$@"
  if [ -n "$reads_dlq" ]; then allow group "$group-dlq-replay" prefixed --operation Delete "$@"; fi
  allow transactional-id "$group" prefixed $write --operation Describe "$@"
}
