#!/bin/sh
# Four hospitals and a coordinator, each a folder and processes of its own, over mTLS on this machine: from nothing to a
# signed release of a model on UCI Heart Disease. What follows a name and is not ours is what one would type at that site.
#
#   docs/examples/field.sh FOLDER PATH-OF-UCI-HEART [options of `secagg charter new`]
set -eu

folder=$1 data=$2
shift 2
here=$(cd "$(dirname "$0")" && pwd)
port=${FIELD_PORT:-8002}
sites="cleveland hungarian switzerland va"

mkdir -p "$folder"
cd "$folder"

say() { printf '\n== %s\n' "$*"; }

say "each hospital: a signing key"
members="" known=""
for site in $sites; do
    mkdir -p "$site"
    key=$(secagg identity new "$site/identity.pem" --json)
    members="$members --member $site=$(printf %s "$key" | sed -n 's/.*"public_key": *"\([^"]*\)".*/\1/p')"
    known="$known$(printf %s "$key" | sed -n 's/.*"fingerprint": *"\([^"]*\)".*/"\1", /p')"
done

say "one of them: the charter; each: a policy of its own, and a signature"
# shellcheck disable=SC2086 # one word for each member
secagg charter new charter --name heart --task "$here/heart-bounds.toml" $members "$@" >/dev/null
for site in $sites; do
    cat >"$site/policy.toml" <<EOF
known_members = [$known]
minimum_cohort = 3
maximum_epsilon = 10.0
allowed_tasks = ["tabular-classification"]
EOF
    secagg charter sign charter --identity "$site/identity.pem" --policy "$site/policy.toml" >/dev/null
done
secagg charter verify charter

say "one of them, never the coordinator: start-up kits"
secagg charter provision charter --host localhost --port "$port" --out provisioned

say "each site: its folder, checked"
number=0
for site in $sites; do
    number=$((number + 1))
    secagg hospital init "$site/site" --charter charter --identity "$site/identity.pem" --policy "$site/policy.toml" \
        --kit "provisioned/kits/hospital-0$number" --data "$data/processed.$site.data" >/dev/null
    secagg hospital check "$site/site"
done
secagg coordinator init coordinator --charter charter --kit provisioned/kits/coordinator >/dev/null

say "all sites run"
pids=""
trap 'for pid in $pids; do kill "$pid" 2>/dev/null || true; done' EXIT
for site in $sites; do
    secagg hospital run "$site/site" >"$site/output" 2>&1 &
    pids="$pids $!"
done
secagg coordinator run coordinator
for pid in $pids; do wait "$pid"; done
pids=""

say "each hospital: the release, in its own folder"
for site in $sites; do
    secagg hospital status "$site/site"
    secagg model verify "$site"/site/runs/*/release
done
