#!/bin/sh
# A small private authority by openssl: see README.md beside this file.
set -eu
umask 077

usage() {
    sed -n '/^```sh$/,/^```$/p' "$(dirname "$0")/README.md" | sed '/^```/d' >&2
    exit 64
}

fail() {
    echo "make.sh: $1" >&2
    exit 1
}

# A name that is also a file name: `*.corp.example` becomes `_.corp.example`.
file_of() {
    case $1 in
        '' | .* | -* | */* | *[!A-Za-z0-9.*_-]*) fail "\`$1\` is not a name: letters, digits, dots, dashes" ;;
    esac
    printf %s "$1" | tr '*' _
}

key() {
    [ ! -e "$1" ] || fail "\`$1\` exists: it is not overwritten"
    openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1" 2>/dev/null ||
        openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1"
}

config() {
    cat > "$dir/ca.cnf" <<CNF
[req]
prompt = no
distinguished_name = name
[name]
CN = Rangegate private authority
[ca]
default_ca = here
[here]
dir = $dir
database = $dir/index.txt
serial = $dir/serial
crlnumber = $dir/crlnumber
new_certs_dir = $dir/issued
certificate = $dir/ca.pem
private_key = $dir/ca.key
default_md = sha256
default_crl_days = 7
crl_extensions = list
policy = any
unique_subject = no
[any]
commonName = supplied
[list]
authorityKeyIdentifier = keyid
[authority]
basicConstraints = critical, CA:true, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[end]
basicConstraints = critical, CA:false
keyUsage = critical, digitalSignature
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
CNF
}

# sign FILE COMMON-NAME DAYS PURPOSE SAN
sign() {
    { cat "$dir/ca.cnf" && printf 'extendedKeyUsage = %s\nsubjectAltName = %s\n' "$4" "$5"; } > "$dir/now.cnf"
    openssl req -new -key "$dir/$1.key" -subj "/CN=$2" -out "$dir/now.csr"
    openssl ca -batch -notext -config "$dir/now.cnf" -extensions end -days "$3" -rand_serial \
        -in "$dir/now.csr" -out "$dir/$1.pem" 2> "$dir/now.log" || { cat "$dir/now.log" >&2; exit 1; }
    rm -f "$dir/now.cnf" "$dir/now.csr" "$dir/now.log"
}

crl() {
    # Whoever reads the list sees the old one or the new one, never half of it.
    openssl ca -config "$dir/ca.cnf" -gencrl -out "$dir/ca.crl.new" 2> "$dir/now.log" || { cat "$dir/now.log" >&2; exit 1; }
    rm -f "$dir/now.log"
    mv "$dir/ca.crl.new" "$dir/ca.crl"
}

[ $# -ge 2 ] || usage
command=$1
mkdir -p "$2"
dir=$(cd "$2" && pwd)
shift 2
[ "$command" = init ] || [ -e "$dir/ca.pem" ] || fail "no authority in \`$dir\`: \`make.sh init\` makes one"

case $command in
    init)
        key "$dir/ca.key"
        config
        mkdir -p "$dir/issued"
        : > "$dir/index.txt"
        echo 01 > "$dir/crlnumber"
        openssl req -x509 -new -config "$dir/ca.cnf" -extensions authority -key "$dir/ca.key" -days 3650 -out "$dir/ca.pem"
        crl
        ;;
    server)
        [ $# -ge 1 ] || usage
        file=$(file_of "$1")
        names=
        for name; do
            file_of "$name" > /dev/null
            names="$names${names:+,}DNS:$name"
        done
        key "$dir/$file.key"
        sign "$file" "$1" 90 serverAuth "$names"
        ;;
    device)
        [ $# -eq 1 ] || usage
        file=$(file_of "$1")
        key "$dir/$file.key"
        sign "$file" "$1" 365 clientAuth "URI:urn:device:$1"
        openssl pkcs12 -export -name "$1" -inkey "$dir/$file.key" -in "$dir/$file.pem" -certfile "$dir/ca.pem" \
            -passout pass: -out "$dir/$file.p12"
        digest() { openssl dgst -sha256 -r | cut -d ' ' -f 1; }
        key_digest=$(openssl x509 -in "$dir/$file.pem" -noout -pubkey | openssl pkey -pubin -outform DER | digest)
        certificate_digest=$(openssl x509 -in "$dir/$file.pem" -outform DER | digest)
        cat << DEVICE
# For the registry: say whose it is.
[[device]]
id = "$1"
owner = "ann@corp.example"
class = "corporate"
keys = ["$key_digest"]
#certificates = ["$certificate_digest"] # only this certificate, not the next for the same key
DEVICE
        ;;
    revoke)
        [ $# -eq 1 ] || usage
        file=$(file_of "$1")
        [ -e "$dir/$file.pem" ] || fail "\`$dir/$file.pem\` does not exist: nothing to revoke"
        openssl ca -config "$dir/ca.cnf" -revoke "$dir/$file.pem" 2> "$dir/now.log" || { cat "$dir/now.log" >&2; exit 1; }
        crl
        ;;
    crl) crl ;;
    signing) key "$dir/assertion.key" ;;
    *) usage ;;
esac
