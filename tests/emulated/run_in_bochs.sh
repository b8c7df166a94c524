#!/usr/bin/env bash
# Runs a static x86-64 Linux program on an emulated CPU that has AVX-512 (F, BW,
# VL, VNNI and more), for machines whose own CPU has not. Meant as Cargo's runner:
#
#   CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER=/path/to/run_in_bochs.sh \
#   RUSTFLAGS="-C target-feature=+crt-static" \
#   cargo test --target x86_64-unknown-linux-gnu --package audiohook-audio
#
# Usage: run_in_bochs.sh PROGRAM [ARGUMENT...]
#
# Bochs boots a Debian kernel whose initramfs holds nothing but busybox and the
# program. What the program prints comes out on stdout; its exit code is ours
# (124: out of time, 125: no machine or no exit code, 128+N: ended by signal N).
#
# Settings, from the environment:
#   BOCHS_TIMEOUT  seconds a run may take                        (default 1200)
#   BOCHS_CPU      a model of `bochs --help cpu`                 (corei7_icelake_u)
#   BOCHS_MEMORY   the machine's memory in MiB                   (512)
#   BOCHS_CACHE    where the kernel and the boot loader are kept (~/.cache/run-in-bochs)
set -euo pipefail

cache=${BOCHS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/run-in-bochs}
limit=${BOCHS_TIMEOUT:-1200}
cpu=${BOCHS_CPU:-corei7_icelake_u}
memory=${BOCHS_MEMORY:-512}
# Emulated instructions per emulated second. Low, so that what the guest waits
# for (the serial line, most of all) costs few instructions.
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

# Fetches what only the guest needs. It is unpacked into the cache and never
# installed, so that a kernel does not end up in the host's /boot.
fill_cache() {
    mkdir -p "$cache"
    exec 9>"$cache/lock"
    flock 9 # Cargo may start several runners at once.
    if [[ ! -e $cache/ready ]]; then
        local new=$cache/new kernel package
        rm -rf "$new"
        mkdir "$new"
        kernel=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: \(linux-image-[0-9]\)/\1/p')
        [[ $kernel ]] || die "apt knows no kernel package; run: apt-get update"
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
    # ttyS1 takes the kernel's messages and the exit code, so that ttyS0 is the program's alone.
    local line="console=ttyS1,115200 quiet"
    # Bochs names a 1.5 GHz clock in CPUID, but the clock really runs at `ips`.
    line+=" tsc_early_khz=$((ips / 1000)) tsc=reliable"
    # What Bochs announces wrongly. Each keeps Linux from booting or from enabling
    # AVX-512: a protection-keys state without a place in the XSAVE area, a wrong size
    # of the compacted XSAVE area, and a short `rep movsb` that is fast without the
    # fast strings that Linux's memmove takes for granted with it.
    line+=" clearcpuid=pku,xsaves,xsavec,fsrm"
    # A reset ends the emulation (see reset_on_triple_fault), after a panic too.
    line+=" reboot=t panic=-1"
    # The rest only saves boot time.
    line+=" nokaslr mitigations=off acpi=off nosmp audit=0 cryptomgr.notests=1"
    line+=" initcall_blacklist=load_system_certificate_list,trace_eval_init,init_kprobe_trace"
    line+=",tracer_init_tracefs,cubictcp_register,bpf_rstat_kfunc_init"
    echo "$line"
}

# The guest's first process. Paths are the host's own: tests may hold on to their
# working directory, and merged doctests start their own program by its path.
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
exec >/dev/ttyS1 2>&1 # Closing ttyS0 waits until all of it is sent.
echo "exit=$code"
$b reboot -f
END
}

build_image() {
    local program=$1 root=$work/root iso=$work/iso
    mkdir -p "$root"/{bin,dev,proc,sys,tmp} "$root$PWD" "$root$(dirname "$program")" "$iso"
    cp "$cache/busybox" "$root/bin/"
    # Debug information is most of a test program, and all of it passes through the emulated CD drive.
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

# Debian's Bochs draws its screen on a pseudo-terminal, and would stand still once
# that is full: the cursor's blinking alone takes minutes for it.
drain_screen() {
    local screen
    while [[ -d $work ]]; do
        if screen=$(grep -om1 '/dev/pts/[0-9]\+' "$work/bochs.out"); then
            exec cat "$screen"
        fi
        sleep 0.2
    done
}

# Sends what the program prints to stdout.
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
# Not tied to the host's clock: idle guest time passes at once.
clock: sync=none
# Of the display libraries that Debian has, the one that needs neither X nor a network port.
display_library: term
plugin_ctrl: speaker=0
log: $work/bochs.log
panic: action=fatal
error: action=ignore
info: action=ignore
END
    # Debian's Bochs is built with its debugger, which waits for a command to start.
    echo continue >"$work/start"
    drain_screen >/dev/null 2>&1 &
    # It also catches SIGTERM, hence SIGKILL. `cat` makes descriptor 3 a pipe: a file
    # that stdout was redirected to would be truncated when Bochs opens it anew.
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
run_machine || true # Bochs calls every end of the machine a failure; the exit code tells.

code=$(sed -n 's/^exit=\([0-9]\+\)\r*$/\1/p' "$work/console" | tail -n 1)
if [[ $code ]]; then
    ((code < 129)) || echo "run_in_bochs: ended by signal $(kill -l "$code")" >&2
    exit "$code"
elif ((SECONDS >= limit)); then
    echo "run_in_bochs: not finished within $limit s (see BOCHS_TIMEOUT)" >&2
    exit 124
fi
tail -n 20 "$work/console" "$work/bochs.log" >&2
die "the machine stopped without an exit code"
