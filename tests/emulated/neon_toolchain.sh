#!/usr/bin/env bash
# Prepares a Rust toolchain for aarch64 (NEON) and prints the settings that Cargo needs
# to use it. The programs run under QEMU:
#
#   eval "$(/path/to/neon_toolchain.sh DIR)"
#   cargo test --target aarch64-unknown-linux-gnu --package audiohook-audio
#
# The standard library comes from rustup if rustup can add the target. Otherwise the
# compiler comes from Debian's packages. They are unpacked into DIR and not installed,
# because they conflict with rustup and other Rust packages. A prepared DIR is reused.
#
# NEON_TOOLCHAIN=rustup or NEON_TOOLCHAIN=debian selects one of the two sources.
set -euo pipefail

die() {
    echo "neon_toolchain: $*" >&2
    exit 1
}

check_installed() {
    local missing=
    command -v cargo >/dev/null || die "cargo is not installed"
    command -v cc >/dev/null || missing+=" gcc libc6-dev" # for build scripts
    command -v aarch64-linux-gnu-gcc >/dev/null || missing+=" gcc-aarch64-linux-gnu"
    [[ -e /usr/aarch64-linux-gnu/lib/libc.so ]] || missing+=" libc6-dev-arm64-cross"
    command -v qemu-aarch64 >/dev/null || missing+=" qemu-user"
    [[ -z $missing ]] || die "missing packages; run: apt-get install --no-install-recommends$missing"
}

from_rustup() {
    # Without a network rustup retries for a long time.
    command -v rustup >/dev/null && timeout 180 rustup target add "$target" >&2
}

# Usage: dependencies PACKAGE PATTERN
# Prints the dependencies of PACKAGE whose names match PATTERN.
dependencies() {
    apt-cache "${apt[@]}" depends "$1" | sed -n "s/^ *Depends: \($2\)\$/\1/p"
}

from_debian() {
    # Use a separate package index, so that arm64 is not added to the machine's apt.
    local apt=(
        -o APT::Architectures::=amd64 -o APT::Architectures::=arm64
        -o Dir::State::Lists="$dir/apt/lists" -o Dir::Cache="$dir/apt/cache"
        -o APT::Sandbox::User=root
    )
    local library llvm package tool
    if [[ ! -e $dir/ready ]]; then
        rm -rf "${dir:?}"/{apt,root,bin}
        mkdir -p "$dir/apt/lists/partial" "$dir/apt/cache/archives/partial" "$dir/bin"
        apt-get "${apt[@]}" update -qq >&2
        library=$(dependencies libstd-rust-web-dev 'libstd-rust-web-[0-9.]*')
        [[ $library ]] || die "apt has no package rustc-web; enable Debian's security updates"
        llvm=$(dependencies "$library" 'libllvm[0-9]*')
        for package in rustc-web "$library" "$llvm" libstd-rust-web-dev libstd-rust-web-dev:arm64; do
            (cd "$dir/apt" && apt-get "${apt[@]}" download -qq "$package" >&2)
        done
        for package in "$dir"/apt/*.deb; do
            dpkg-deb --extract "$package" "$dir/root"
        done
        rm -rf "$dir/apt"

        # The compiler finds its libraries in the unpacked directory.
        for tool in rustc rustdoc; do
            cat >"$dir/bin/$tool" <<END
#!/bin/sh
LD_LIBRARY_PATH="$dir/root/usr/lib/x86_64-linux-gnu\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}" \\
    exec "$dir/root/usr/bin/$tool" "\$@"
END
            chmod +x "$dir/bin/$tool"
        done
        "$dir/bin/rustc" --version >&2 || die "rustc lacks a library; run: apt-get install $llvm"
        touch "$dir/ready"
    fi
    echo "export RUSTC='$dir/bin/rustc' RUSTDOC='$dir/bin/rustdoc'"
}

(($# == 1)) || die "usage: $0 DIR"
target=aarch64-unknown-linux-gnu
check_installed
mkdir -p "$1"
dir=$(realpath "$1")

case ${NEON_TOOLCHAIN:-any} in
    rustup) from_rustup || die "rustup cannot add $target" ;;
    debian) from_debian ;;
    *) from_rustup || from_debian ;;
esac
echo "export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER='aarch64-linux-gnu-gcc'"
echo "export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER='qemu-aarch64 -L /usr/aarch64-linux-gnu'"
