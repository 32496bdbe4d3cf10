#!/usr/bin/env bash
# Puts the program and what belongs to it under $DESTDIR$PREFIX, or takes it away; make install and make uninstall.
#   tools/install.sh install build/torch/qtaylor
#   tools/install.sh uninstall
#   tools/install.sh starter ENV.SH PROGRAM    prints a script that starts PROGRAM with the settings of ENV.SH; both are
#                                              seen from its folder
# share/qtaylor/installed lists what was put there: only that is taken away.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${PREFIX:=/usr/local}" "${DESTDIR:=}"

fail() { printf 'install: %s\n' "$*" >&2; exit 64; }
[[ $PREFIX = /* ]] || fail "PREFIX=$PREFIX: expected an absolute path"
case $PREFIX in
    *[\"\$\`\\\|\&{}]* | *$'\n'*) fail "PREFIX=$PREFIX: expected none of \" \$ \` \\ | & { } and no line end" ;;
esac
[[ -z $DESTDIR || $DESTDIR = /* ]] || fail "DESTDIR=$DESTDIR: expected an absolute path, or nothing"
place=$DESTDIR$PREFIX
home=share/qtaylor # as the SLURM scripts call it: QTAYLOR_HOME
list=$place/$home/installed
draft=$(mktemp)
installing= # then what broke off is listed, with what the list had before
leave() {
    if [ -n "$installing" ] && sort -u "$draft.old" "$draft.list" >"$draft"; then cp "$draft" "$list" || true; fi
    rm -f "$draft" "$draft.list" "$draft.old"
}
trap leave EXIT

# Folders that are new are listed as NAME/.
put() { # put MODE FILE PLACE
    local folder new=()
    folder=$(dirname "$3")
    while [ "$folder" != . ] && [ ! -d "$place/$folder" ]; do
        new=("$folder/" "${new[@]}")
        folder=$(dirname "$folder")
    done
    printf '%s\n' "${new[@]}" "$3" | grep . >>"$draft.list"
    install -D -m "$1" "$2" "$place/$3"
}

put_changed() { # put_changed MODE FILE PLACE SED-SCRIPT
    sed -e "$4" "$2" >"$draft"
    put "$1" "$draft" "$3"
}

# Its links lead to where their files are installed; those to files that are not become plain text.
put_page() { # put_page FILE PLACE PATH-TO-DOC PATH-TO-HOME
    put_changed 644 "$1" "$2" "s#\[\([^]]*\)\](\(\.\./\)*\(CONTRIBUTING\.md\|tests/[^)]*\))#\1#g
        s#\](\.\./\(docs/\|README\)#](${3:+$3/}\1#g; s#\(\](\|src=\"\)\(\.\./\)*\(jobs\|tools\)/#\1$4/\3/#g"
}

# A checkout's own files, without what was put beside them.
list_jobs() {
    if [ ! -e .git ] || ! git -c core.quotePath=off ls-files jobs 2>/dev/null; then find jobs -type f; fi |
        while IFS= read -r file; do [ ! -f "$file" ] || printf '%s\n' "$file"; done
}

# What a file of names says is removed; of its folders those that are empty then.
remove() { # remove FILE
    local name
    while IFS= read -r name; do [[ $name = */ ]] || rm -f "$place/$name"; done <"$1"
    sort -r "$1" | while IFS= read -r name; do
        [[ $name != */ ]] || rmdir --ignore-fail-on-non-empty -- "$place/$name" 2>/dev/null || true
    done
}

# SLURM copies a script elsewhere before it runs: the installed ones name their place, and the program as seen from it.
put_slurm() {
    local file
    for file in slurm/*.sbatch; do
        put_changed 755 "$file" "$home/$file" "s|{QTAYLOR_HOME:=.*}\"|{QTAYLOR_HOME:=$PREFIX/$home}\"|
            s|^JOB=jobs/\([^ ]*\)|JOB=\"$PREFIX/$home/jobs/\1\"|
            s|it from the qtaylor folder:|it from the folder that results shall be in:|"
    done
    # shellcheck disable=SC2016 # text of the script
    put_changed 644 slurm/common.sh "$home/slurm/common.sh" \
        's|{PROGRAM:=[^}]*}|{PROGRAM:=../../bin/qtaylor}|; s|relative to the qtaylor folder|relative to $QTAYLOR_HOME|'
}

starter() { # starter ENV.SH PROGRAM
    # shellcheck disable=SC2016 # text of the script
    printf '#!/bin/bash\n# Its libraries were unpacked without root.\nhere=$(dirname "$(readlink -f "$0")")
source "$here/%s"\nexec -a "$0" "$here/%s" "$@"\n' "$1" "$2"
}

# Over unpacked packages: their settings, the program behind its starter, and a module that has mpirun as well.
put_unpacked() { # put_unpacked PROGRAM
    put 644 build/env.sh "$home/env.sh"
    put 755 "$1" libexec/qtaylor
    starter "../$home/env.sh" ../libexec/qtaylor >"$draft"
    put 755 "$draft" bin/qtaylor
}

install_all() { # install_all PROGRAM
    local file command version commands unpacked
    unpacked=$(dirname "$1")/unpacked/qtaylor
    version=$(cut -d' ' -f1 VERSION)
    commands=$("$1" --help | awk '/^  [a-z]/ {print $1}') || fail "$1 does not start"
    : >"$draft.list"
    : >"$draft.old"
    mkdir -p "$place"
    if [ -f "$list" ]; then
        cp "$list" "$draft.old" # the list stays as it is until the end
        echo "$home/installed" >>"$draft.list"
    else
        put 644 /dev/null "$home/installed"
    fi
    installing=1
    if [ -e "$unpacked" ]; then put_unpacked "$unpacked"; else put 755 "$1" bin/qtaylor; fi
    put_slurm
    while IFS= read -r file; do put 644 "$file" "$home/$file"; done < <(list_jobs | grep -vx jobs/README.md | sort)
    put_page jobs/README.md "$home/jobs/README.md" ../../doc/qtaylor ..
    for file in tools/{export,encode_prompts,qtaylor,prepare_images,reference}.py tools/export/*.py \
        tools/{digits_networks,train_digits,train_fashion}.py
    do put "$([ -x "$file" ] && echo 755 || echo 644)" "$file" "$home/$file"; done
    put 644 LICENSE share/doc/qtaylor/LICENSE
    for file in README.md CHANGELOG.md; do put_page "$file" "share/doc/qtaylor/$file" '' ../../qtaylor; done
    for file in docs/*.md; do put_page "$file" "share/doc/qtaylor/$file" .. ../../../qtaylor; done
    put_changed 644 packaging/modulefile "share/modulefiles/qtaylor/$version" \
        "s|@PREFIX@|$PREFIX|; s|@VERSION@|$version|g; $([ -e "$unpacked" ] || echo '/@UNPACKED@/d'); s|@UNPACKED@ *||"
    "$1" --man >"$draft"
    put 644 "$draft" share/man/man1/qtaylor.1
    for command in $commands; do
        "$1" --man "$command" >"$draft"
        put 644 "$draft" "share/man/man1/qtaylor-$command.1"
    done
    "$1" --completion bash >"$draft"
    put 644 "$draft" share/bash-completion/completions/qtaylor
    "$1" --completion zsh >"$draft"
    put 644 "$draft" share/zsh/site-functions/_qtaylor
    grep -vxFf "$draft.list" "$draft.old" >"$draft" || true # files of an older version
    remove "$draft"
    while IFS= read -r file; do [ ! -d "$place/$file" ] || echo "$file"; done <"$draft" >>"$draft.list"
    cp "$draft.list" "$list"
    installing=
    echo "installed in $place: $(grep -vc '/$' "$list") files, listed in $list"
    case :$PATH: in *":$PREFIX/bin:"*) ;; *) echo "to find them: export PATH=$PREFIX/bin:\$PATH" ;; esac
}

case ${1:-} in
    install) install_all "${2:?the program}" ;;
    uninstall)
        [ -f "$list" ] || fail "$list is not there: nothing is installed in $place"
        cp "$list" "$draft"
        rm -rf "$place/$home"/tools/{,export/}__pycache__ # Python's own, of the tools' use
        remove "$draft"
        echo "removed from $place" ;;
    starter) starter "${2:?}" "${3:?}" ;;
    *) fail 'expected install PROGRAM, uninstall, or starter ENV.SH PROGRAM' ;;
esac
