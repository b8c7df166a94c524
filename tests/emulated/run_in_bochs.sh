#!/usr/bin/env bash
# Runs a static x86-64 Linux program on an emulated CPU with AVX-512 (F, BW, VL, VNNI
# and more), for machines without AVX-512. Use it as Cargo's runner:
#
#   CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER=/path/to/run_in_bochs.sh \
#   RUSTFLAGS="-C target-feature=+crt-static" \
#   cargo test --target x86_64-unknown-linux-gnu --package audiohook-audio
#
# Usage: run_in_bochs.sh PROGRAM [ARGUMENT...]
#
# Bochs boots a Debian kernel with an initramfs of busybox and the program. The script
# prints the program's output to stdout and exits with the program's exit code. Other
# exit codes: 124: timeout, 125: Bochs did not start or there was no exit code, 128+N: the
# program was ended by signal N.
#
# Environment variables:
#   BOCHS_TIMEOUT  time limit of a run in seconds                    (default 1200)
#   BOCHS_CPU      CPU model, one of `bochs --help cpu`              (corei7_icelake_u)
#   BOCHS_MEMORY   memory of the machine in MiB                      (512)
#   BOCHS_CACHE    directory for the kernel and the boot loader      (~/.cache/run-in-bochs)
#   BOCHS_IPS      emulated instructions per emulated second         (20000000)
set -euo pipefail

cache=${BOCHS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/run-in-bochs}
limit=${BOCHS_TIMEOUT:-1200}
cpu=${BOCHS_CPU:-corei7_icelake_u}
memory=${BOCHS_MEMORY:-512}
# With a low value, Bochs emulates few instructions while the guest waits (mainly for the
# serial line).
ips=${BOCHS_IPS:-20000000}

die() {
    echo "run_in_bochs: $*" >&2
    exit 125
}

check_installed() {
    local missing=
    command -v bochs-bin >/dev/null || missing+=" bochs"
    compgen -G '/usr/lib/*/bochs/plugins/libbx_term_gui.so' >/dev/null || missing+=" bochs-term"
    [[ -e /usr/share/bochs/BIOS-bochs-latest ]] || missing+=" bochsbios"
    [[ -e /usr/share/bochs/VGABIOS-lgpl-latest ]] || missing+=" vgabios"
    command -v xorriso >/dev/null || missing+=" xorriso"
    [[ -z $missing ]] || die "missing packages; run: apt-get install --no-install-recommends$missing"
}

# Downloads the guest's kernel, busybox and boot loader. The packages are unpacked into
# the cache and not installed, so that the host's /boot does not change.
fill_cache() {
    mkdir -p "$cache"
    exec 9>"$cache/lock"
    flock 9 # Cargo can start several runners at the same time.
    if [[ ! -e $cache/ready ]]; then
        local new=$cache/new kernel package
        rm -rf "$new"
        mkdir "$new"
        kernel=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: \(linux-image-[0-9]\)/\1/p')
        [[ $kernel ]] || die "apt has no kernel package; run: apt-get update"
        for package in "$kernel" busybox-static isolinux syslinux-common; do
            (cd "$new" && apt-get download -qq -o APT::Sandbox::User=root "$package" >&2) ||
                die "cannot download $package; run: apt-get update"
            dpkg-deb --extract "$new/$package"_*.deb "$new/root"
        done
        cp "$new"/root/boot/vmlinuz-* "$cache/vmlinuz"
        cp "$new/root/bin/busybox" "$new/root/usr/lib/ISOLINUX/isolinux.bin" \
            "$new/root/usr/lib/syslinux/modules/bios/ldlinux.c32" "$cache"
        rm -rf "$new"
        touch "$cache/ready"
    fi
    exec 9>&-
}

kernel_command_line() {
    # ttyS1 carries the kernel's messages and the exit code, ttyS0 only the program's output.
    local line="console=ttyS1,115200 quiet"
    # CPUID reports a clock of 1.5 GHz, but the emulated clock runs at `ips`.
    line+=" tsc_early_khz=$((ips / 1000)) tsc=reliable"
    # Bochs reports some CPU features wrongly, and each of them keeps Linux from booting or
    # from enabling AVX-512. pku: a protection-keys state without a place in the XSAVE area.
    # xsaves, xsavec: a wrong size of the compacted XSAVE area. fsrm: a fast short
    # `rep movsb` without fast strings, which Linux's memmove expects together.
    line+=" clearcpuid=pku,xsaves,xsavec,fsrm"
    # A reset ends the emulation (see reset_on_triple_fault), also after a panic.
    line+=" reboot=t panic=-1"
    # The remaining parameters shorten the boot.
    line+=" nokaslr mitigations=off acpi=off nosmp audit=0 cryptomgr.notests=1"
    line+=" initcall_blacklist=load_system_certificate_list,trace_eval_init,init_kprobe_trace"
    line+=",tracer_init_tracefs,cubictcp_register,bpf_rstat_kfunc_init"
    echo "$line"
}

# Prints the script of the guest's first process. The guest uses the host's paths, because
# tests can depend on their working directory, and merged doctests start their own program
# by its path.
guest_init() {
    local program=$1 name
    shift
    cat <<'END'
#!/bin/busybox sh
b=/bin/busybox
$b mount -t devtmpfs none /dev
$b mount -t proc none /proc
$b mount -t sysfs none /sys
$b stty -F /dev/ttyS0 raw
exec </dev/null >/dev/ttyS0 2>&1
END
    while read -r name; do
        printf 'export %s=%s\n' "$name" "${!name@Q}"
    done < <(compgen -e | grep -E '^(PIPECAT_GENESYS_.*|PROPTEST_CASES|RUST_.*|RUSTDOC_.*)$')
    printf 'cd %s\n' "${PWD@Q}"
    printf '%s ' "${program@Q}" "${@@Q}"
    cat <<'END'

code=$?
exec >/dev/ttyS1 2>&1 # Closing ttyS0 waits until all output has been sent.
echo "exit=$code"
$b reboot -f
END
}

build_image() {
    local program=$1 root=$work/root iso=$work/iso
    mkdir -p "$root"/{bin,dev,proc,sys,tmp} "$root$PWD" "$root$(dirname "$program")" "$iso"
    cp "$cache/busybox" "$root/bin/"
    # Debug information is most of a test program and slow to read from the emulated CD drive.
    strip --strip-debug -o "$root$program" "$program" 2>/dev/null || cp "$program" "$root$program"
    guest_init "$@" >"$root/init"
    chmod +x "$root/init"
    (cd "$root" && find . | "$cache/busybox" cpio -o -H newc) >"$iso/initrd" 2>/dev/null

    cp "$cache"/{vmlinuz,isolinux.bin,ldlinux.c32} "$iso"
    cat >"$iso/isolinux.cfg" <<END
default linux
label linux
    kernel /vmlinuz
    initrd /initrd
    append $(kernel_command_line)
END
    xorriso -as mkisofs -quiet -o "$work/boot.iso" -b isolinux.bin -c boot.cat \
        -no-emul-boot -boot-load-size 4 -boot-info-table "$iso" 2>/dev/null
}

# Debian's Bochs draws its screen on a pseudo-terminal and blocks when the terminal's buffer
# is full. The blinking cursor alone fills it within minutes, so the terminal must be read.
drain_screen() {
    local screen
    while [[ -d $work ]]; do
        if screen=$(grep -om1 '/dev/pts/[0-9]\+' "$work/bochs.out"); then
            exec cat "$screen"
        fi
        sleep 0.2
    done
}

# Runs Bochs and prints the program's output to stdout.
run_machine() {
    cat >"$work/bochsrc" <<END
cpu: model=$cpu, count=1, ips=$ips, reset_on_triple_fault=0
memory: guest=$memory, host=$memory
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=cdrom, path=$work/boot.iso, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=/dev/fd/3
com2: enabled=1, mode=file, dev=$work/console
# The emulated clock is independent of the host's, so idle time of the guest takes no time.
clock: sync=none
# This is the only display library in Debian that needs neither X nor a network port.
display_library: term
plugin_ctrl: speaker=0
log: $work/bochs.log
panic: action=fatal
error: action=ignore
info: action=ignore
END
    # Debian's Bochs is built with the debugger, which waits for a command.
    echo continue >"$work/start"
    drain_screen >/dev/null 2>&1 &
    # Send SIGKILL, because the debugger catches SIGTERM. `cat` makes descriptor 3 a pipe: if
    # stdout were redirected to a file, Bochs would truncate the file when it opens it.
    {
        TERM=linux timeout -s KILL "$limit" bochs-bin -q -f "$work/bochsrc" -rc "$work/start"
    } 3>&1 </dev/null >"$work/bochs.out" 2>&1 | cat
}

(($#)) || die "usage: $0 PROGRAM [ARGUMENT...]"
check_installed
program=$(realpath "$1")
shift
ldd "$program" 2>&1 | grep -qE 'statically linked|not a dynamic executable' ||
    die "$program is not static; build with RUSTFLAGS=\"-C target-feature=+crt-static\""

fill_cache
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
touch "$work/bochs.out" "$work/bochs.log" "$work/console"
build_image "$program" "$@"
SECONDS=0
run_machine || true # Bochs reports every end of the machine as a failure.

code=$(sed -n 's/^exit=\([0-9]\+\)\r*$/\1/p' "$work/console" | tail -n 1)
if [[ $code ]]; then
    ((code < 129)) || echo "run_in_bochs: the program was ended by signal $(kill -l "$code")" >&2
    exit "$code"
elif ((SECONDS >= limit)); then
    echo "run_in_bochs: the program did not end within $limit s (see BOCHS_TIMEOUT)" >&2
    exit 124
fi
tail -n 20 "$work/console" "$work/bochs.log" >&2
die "the machine stopped without an exit code"
