"""Does what deploy/Dockerfile and deploy/compose.yaml say, in clean Debian roots, where no container engine is at hand.

    sudo python3 deploy/prove.py [--work DIR] [--keep]

Both files are read, not repeated: each RUN, COPY, ENV, USER, HEALTHCHECK and CMD line is carried out as an engine would,
on a root made by debootstrap that stands in for the Python image, with a mount and a network namespace for each container.
Then two nodes and a PostgreSQL 17 run with the environment of compose.yaml, as the image's user, without capabilities, on
read-only roots, and are asked for everything that the README promises of them.

State: the Dockerfile's steps, the refusal without keys, the rights and the read-only root have been seen to hold; the nodes of
compose.yaml have not been seen to start yet.

Needs root, debootstrap, iproute2, util-linux and PyYAML. pip and apt inside use the caller's PIP_* variables, proxies and
certificates, and pip's configuration files of this machine.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).resolve().parent
CONTEXT = DEPLOY.parent
SUITE = "trixie"  # of the image python:3.13-slim-trixie, whose stand-in has Debian's Python 3.13
PACKAGES = "ca-certificates,python3,python3-venv,python3-dev,python3-pip"
NETWORK = "10.77.0"  # of the containers, on a bridge
SECONDS = 60.0  # for anything to come true
CALLERS = re.compile(r"PIP_|.*_proxy$|.*_PROXY$|SSL_CERT_FILE|REQUESTS_CA_BUNDLE")
CALLERS_FILES = ("/etc/resolv.conf", "/etc/ssl/certs/ca-certificates.crt", "/etc/pip.conf", "/etc/xdg/pip")


@dataclass
class Image:
    """A stage of the Dockerfile as it was carried out."""

    root: Path
    env: dict[str, str] = field(default_factory=lambda: {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"})
    folder: str = "/"
    user: str = "0"
    volumes: list[str] = field(default_factory=list)
    words: dict[str, str] = field(default_factory=dict)  # ENTRYPOINT, CMD, HEALTHCHECK, STOPSIGNAL


def run(*command: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command that must succeed."""
    done = subprocess.run([str(word) for word in command], text=True, capture_output=True, check=False, **options)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))[:300]}\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return done


def say(text: str) -> None:
    """Tell what holds."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def until(what: str, condition: Any) -> Any:
    """What the condition gives once it is true."""
    end = time.monotonic() + SECONDS
    while not (value := condition()):
        if time.monotonic() > end:
            raise SystemExit(f"it never came true: {what}")
        time.sleep(0.1)
    return value


# ------------------------------------------------------------------------------------------------------------- the Dockerfile


def instructions(file: Path) -> Iterator[tuple[str, str]]:
    """The lines of a Dockerfile, continued ones joined."""
    lines = [line for line in file.read_text().splitlines() if not line.lstrip().startswith("#")]
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        if line.strip():
            word, _, rest = line.strip().partition(" ")
            yield word.upper(), rest.strip()


def inside(
    root: Path, command: list[str], *, env: dict[str, str], folder: str = "/", binds: Sequence[str] = ()
) -> list[str]:
    """The command line that runs a command in a root of its own, as root, with the machine's network."""
    mounts = [f"mount -t proc proc {root}/proc", f"mount --rbind /dev {root}/dev"]
    for path in binds:
        if Path(path).exists():
            make = "mkdir -p" if Path(path).is_dir() else "install -D /dev/null"
            mounts.append(f"{make} {root}{path} && mount --bind {path} {root}{path}")
    words = [f"{name}={value}" for name, value in env.items()]
    script = "; ".join(["set -e", *mounts, 'exec chroot "$@"'])
    enter = ["env", "-i", *words, "/bin/sh", "-c", f"cd {folder} && exec " + '"$@"', "sh", *command]
    return ["unshare", "--mount", "sh", "-c", script, "sh", str(root), *enter]


def base_root(work: Path) -> Path:
    """A minimal Debian with Python and pip under the names that the Python image gives them."""
    root = work / f"base-{SUITE}"
    if not (root / "usr/local/bin/python").exists():
        shutil.rmtree(root, ignore_errors=True)
        run("debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, root)
        for name in ("python", "pip"):
            (root / "usr/local/bin" / name).symlink_to(f"/usr/bin/{name}3")
        for managed in root.glob("usr/lib/python3*/EXTERNALLY-MANAGED"):
            managed.unlink()
    say(f"base: Debian {SUITE}, {run(*inside(root, ['python', '--version'], env=Image(root).env)).stdout.strip()}")
    return root


def copy_root(source: Path, target: Path) -> Path:
    """A copy that can be changed."""
    shutil.rmtree(target, ignore_errors=True)
    run("cp", "-a", "--reflink=auto", source, target)
    return target


def build(dockerfile: Path, work: Path) -> Image:
    """Carry out the Dockerfile; gives its last stage."""
    base, callers = base_root(work), {name: value for name, value in os.environ.items() if CALLERS.match(name)}
    stages: dict[str, Image] = {}
    image, arguments = Image(base), {}
    for word, rest in instructions(dockerfile):
        if word == "FROM":
            name = rest.partition(" AS ")[2] or "last"
            image, arguments = Image(copy_root(base, work / name)), {}
            stages[name] = image
        elif word == "ARG":
            name, _, value = rest.partition("=")
            arguments[name] = value
        elif word == "ENV":
            for pair in rest.split():
                name, _, value = pair.partition("=")
                image.env[name] = value.replace("$PATH", image.env["PATH"])
        elif word == "WORKDIR":
            image.folder = rest
            (image.root / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
        elif word == "COPY":
            copy(rest.split(), image, stages)
        elif word == "RUN":
            begun = time.monotonic()
            env = {"HOME": "/root", **callers, **arguments, **image.env}
            command = inside(image.root, ["sh", "-ec", rest], env=env, folder=image.folder, binds=list(CALLERS_FILES))
            run(*command)
            say(f"RUN {rest[:100]}{'...' if len(rest) > 100 else ''}  [{time.monotonic() - begun:.0f} s]")
        elif word == "USER":
            image.user = rest
        elif word == "VOLUME":
            image.volumes.append(rest)
        elif word in ("ENTRYPOINT", "CMD", "HEALTHCHECK", "STOPSIGNAL", "EXPOSE"):
            image.words[word] = rest
        else:
            raise SystemExit(f"{dockerfile}: {word} is not known here")
    return image


def copy(words: list[str], image: Image, stages: dict[str, Image]) -> None:
    """COPY, from the context without what .dockerignore leaves out, or from a stage."""
    source = stages[words.pop(0).split("=")[1]].root if words[0].startswith("--from=") else CONTEXT
    *names, place = words
    target = Path(os.path.normpath(image.root / os.path.join(image.folder, place).lstrip("/")))
    for name in names:
        found = source / name.lstrip("/")
        into = target / found.name if place.endswith("/") else target
        if found.is_dir():
            left_out = shutil.ignore_patterns("__pycache__", "*.so") if source == CONTEXT else None
            shutil.copytree(found, into, symlinks=True, ignore=left_out, dirs_exist_ok=True)
        else:
            into.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(found, into)


# -------------------------------------------------------------------------------------------------------------- containers


class Containers:
    """Network namespaces on one bridge, and processes in them; all are gone at the end."""

    def __init__(self, work: Path, image: Image) -> None:
        self.work, self.image = work, image
        self.addresses: dict[str, str] = {}
        self._exit = ExitStack()

    def __enter__(self) -> Containers:
        run("ip", "link", "add", "qfast-br", "type", "bridge")
        self._exit.callback(run, "ip", "link", "del", "qfast-br")
        run("ip", "addr", "add", f"{NETWORK}.1/24", "dev", "qfast-br")
        run("ip", "link", "set", "qfast-br", "up")
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    def network(self, name: str) -> str:
        """A network namespace with an address."""
        number = len(self.addresses) + 2
        space, outer, address = f"qfast-{name}", f"qf{number}", f"{NETWORK}.{number}"
        run("ip", "netns", "add", space)
        self._exit.callback(run, "ip", "netns", "del", space)
        run("ip", "link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", space)
        run("ip", "link", "set", outer, "master", "qfast-br", "up")
        for command in (f"addr add {address}/24 dev eth0", "link set eth0 up", "link set lo up"):
            run("ip", "-n", space, *command.split())
        self.addresses[name] = address
        return address

    def start(
        self, name: str, command: list[str], env: dict[str, str], files: dict[str, Path]
    ) -> subprocess.Popen[str]:
        """A process of the image as compose.yaml's settings leave it: read-only, no rights, volumes, a tmpfs, secrets."""
        image, root = self.image, self.image.root
        entry = next(line for line in (root / "etc/passwd").read_text().splitlines() if f":{image.user}:" in line)
        user, group = entry.split(":")[2:4]
        hosts = self.work / "hosts"
        hosts.write_text(
            "".join(f"{address} {host}\n" for host, address in self.addresses.items()) + "127.0.0.1 localhost\n"
        )
        mounts = [f"mount --bind {root} {root}", f"mount -t proc proc {root}/proc", f"mount --rbind /dev {root}/dev"]
        mounts += [f"mount -t tmpfs tmpfs {root}/tmp", f"mount -t tmpfs tmpfs {root}/run"]
        mounts += [f"mount --bind {hosts} {root}/etc/hosts"]
        for volume in image.volumes:
            mounts.append(f"mount --bind {self.volume(name, volume)} {root}{volume}")
        for place, file in files.items():
            mounts.append(f"install -D /dev/null {root}{place} && mount --bind {file} {root}{place}")
        script = "; ".join(["set -e", *mounts, f"mount -o remount,bind,ro {root}", 'exec chroot "$@"'])
        rights = ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", "--no-new-privs"]
        rights += ["--bounding-set=-all", "--inh-caps=-all", "env", "-i"]
        words = [f"{key}={value}" for key, value in {**image.env, **env}.items()]
        enter = [*rights, *words, "sh", "-c", f"cd {image.folder} && exec " + '"$@"', "sh", *command]
        space = ["ip", "netns", "exec", f"qfast-{name}", "unshare", "--mount", "sh", "-c", script, "sh", str(root)]
        return subprocess.Popen([*space, *enter], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def volume(self, name: str, path: str) -> Path:
        """A volume: new, it has the contents and the owner of the image's folder."""
        place = self.work / "volumes" / name
        if not place.exists():
            place.parent.mkdir(exist_ok=True)
            run("cp", "-a", f"{self.image.root}{path}", place)
        return place

    def ask(self, name: str, command: list[str], env: dict[str, str], files: dict[str, Path]) -> tuple[int, str]:
        """Exit status and output of a process beside the container's."""
        process = self.start(name, command, env, files)
        output, _ = process.communicate(timeout=SECONDS)
        return process.returncode, output


@contextmanager
def running(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """Kill it at the end if it is still there."""
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def get(url: str, body: Any = None, token: str = "") -> tuple[int, Any]:
    """Status and JSON of an answer; (0, None) where nobody answers."""
    headers = {"Content-Type": "application/json", "Host": "qfast.example"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    request = urllib.request.Request(url, json.dumps(body).encode() if body else None, headers)
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, json.loads(refusal.read() or b"null")
    except OSError:
        return 0, None


def call(url: str, token: str, method: str, **body: Any) -> Any:
    """A verb's result."""
    status, answer = get(
        f"{url}/v1/job", {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"body": body}}, token
    )
    if status != 200 or "result" not in answer:
        raise SystemExit(f"{method}: {status} {answer}")
    return answer["result"]


BELL = 'OPENQASM 3.0;\ninclude "stdgates.inc";\nqubit[2] q;\nbit[2] c;\nh q[0];\ncx q[0], q[1];\nc = measure q;\n'


def prove_image(image: Image, containers: Containers) -> None:
    """What holds of the image alone."""
    command = json.loads(image.words["ENTRYPOINT"]) + json.loads(image.words["CMD"])
    status, output = containers.ask("node-a", command, {}, {})
    if status == 0 or "API keys" not in output:
        raise SystemExit(f"a public bind without keys was not refused: {status} {output}")
    say(f"{' '.join(command)} without keys: refused, exit status {status}")
    for path, writable in (("/usr", False), ("/opt/qfast", False), ("/etc", False), ("/data", True), ("/tmp", True)):
        status, _ = containers.ask("node-a", ["sh", "-c", f"touch {path}/x && rm {path}/x"], {}, {})
        if (status == 0) != writable:
            raise SystemExit(f"{path} can{'' if status == 0 else 'not'} be written")
    say("read-only root: only /data and the tmpfs can be written")
    _, output = containers.ask(
        "node-a", ["sh", "-c", "id -u; grep -E '^Cap(Prm|Eff|Bnd)|NoNewPrivs' /proc/self/status"], {}, {}
    )
    if output.split()[0] != image.user or re.search(r"Cap\w+:\s+0*[1-9a-f]", output):
        raise SystemExit(output)
    say(f"user {image.user}, no capabilities: {' '.join(output.split()[1:])}")


def prove_compose(image: Image, containers: Containers, work: Path) -> None:
    """Start what compose.yaml names, and use it."""
    password = secrets.token_hex(16)
    text = re.sub(r"\$\{QFAST_DB_PASSWORD[^}]*\}", password, (DEPLOY / "compose.yaml").read_text())
    compose = yaml.safe_load(text)
    services = compose["services"]
    nodes = [name for name, service in services.items() if service.get("image") == "qfast"]
    token, files = make_secrets(image, containers, work)
    files = {f"/run/secrets/{name}": files[name] for name in compose["secrets"]}
    command = json.loads(image.words["ENTRYPOINT"]) + json.loads(image.words["CMD"])
    check = json.loads(image.words["HEALTHCHECK"].partition("CMD ")[2])
    with ExitStack() as stack:
        stack.enter_context(database(containers, services["database"]["environment"], work))
        started = {}
        for name in nodes:
            env = services[name]["environment"]
            started[name] = stack.enter_context(running(containers.start(name, command, env, files)))
        urls = [f"http://{containers.addresses[name]}:8088" for name in nodes]
        for name, url in zip(nodes, urls, strict=True):
            until(
                f"{url}/readyz",
                lambda url=url, name=name: get(f"{url}/readyz")[0] == 200 or started[name].poll() is not None,
            )
            if started[name].poll() is not None:
                raise SystemExit(f"{name} ended: {started[name].communicate()[0]}")
            status, output = containers.ask(name, check, services[name]["environment"], files)
            say(
                f"{name}: /livez {get(f'{url}/livez')[0]}, /readyz {get(f'{url}/readyz')[0]}, "
                f"HEALTHCHECK {' '.join(check)}: {status} {output.strip()}"
            )
            if status:
                raise SystemExit("the health check fails")
        if get(f"{urls[0]}/v1/job", {"jsonrpc": "2.0", "id": 1, "method": "get_jobs"})[0] != 401:
            raise SystemExit("a call without a key was answered")
        use(urls, token)
        stop(started, nodes, urls, token)


def use(urls: list[str], token: str) -> None:
    """A job of one node is seen from the other."""
    job = call(urls[0], token, "submit_job", source_code=[BELL], shots=1000)["job_id"]
    done = call(urls[1], token, "wait_job", job_id=job, timeout=30)
    counts = call(urls[1], token, "get_job_results", job_id=job)["results"][0]["results"]
    if done["job_status"] != "COMPLETED" or set(counts) - {"00", "11"}:
        raise SystemExit(f"{done} {counts}")
    say(f"a job submitted to node-a, read from node-b: {done['job_status']} {counts}; without a key: 401")


def stop(started: dict[str, subprocess.Popen[str]], nodes: list[str], urls: list[str], token: str) -> None:
    """STOPSIGNAL with a job that runs: drained, and the other node goes on."""
    sleeping = call(urls[0], token, "submit_job", source_code=[BELL], shots=10, driver_options={"sleep": 3})["job_id"]
    until("it runs", lambda: call(urls[0], token, "get_job_status", job_id=sleeping)["job_status"] != "QUEUED")
    begun = time.monotonic()
    started[nodes[0]].send_signal(signal.SIGTERM)
    until("not ready", lambda: get(f"{urls[0]}/readyz")[0] != 200)
    status = started[nodes[0]].wait(45)
    took = time.monotonic() - begun
    state = call(urls[1], token, "wait_job", job_id=sleeping, timeout=30)["job_status"]
    say(f"{nodes[0]} stopped by SIGTERM in {took:.1f} s, exit status {status}; its job of 3 s: {state}")
    started[nodes[1]].send_signal(signal.SIGTERM)
    if status or state != "COMPLETED" or started[nodes[1]].wait(45):
        raise SystemExit("a stop did not drain")
    say(f"{nodes[1]} stopped as well, exit status 0")


def make_secrets(image: Image, containers: Containers, work: Path) -> tuple[str, dict[str, Path]]:
    """Keys and the secret of callbacks, as the head of compose.yaml says, made by the image itself."""
    _, output = containers.ask("node-a", ["qfast", "keys", "add", "me", "--keys", "/data/keys.toml"], {}, {})
    token = re.search(r"qf_\S+", output)
    if token is None:
        raise SystemExit(f"no key was made: {output}")
    keys, webhook = work / "keys.toml", work / "webhook.key"
    shutil.move(containers.volume("node-a", "/data") / "keys.toml", keys)
    webhook.write_text(f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}\n")
    webhook.chmod(0o600)
    for file in (keys, webhook):
        os.chown(file, int(image.user), -1)
    return token.group(), {"keys": keys, "webhook": webhook}


@contextmanager
def database(containers: Containers, env: dict[str, str], work: Path) -> Iterator[None]:
    """PostgreSQL 17 of Debian, with user, database and password as the image of that name makes them."""
    root = work / "database"
    if not (root / "usr/lib/postgresql/17").exists():
        copy_root(work / f"base-{SUITE}", root)
        install = "apt-get update && apt-get install --yes --no-install-recommends postgresql-17"
        run(*inside(root, ["sh", "-ec", install], env=Image(root).env, binds=list(CALLERS_FILES)))
    place = "/var/lib/postgresql/proof"
    shutil.rmtree(f"{root}{place}", ignore_errors=True)
    (work / "password").write_text(env["POSTGRES_PASSWORD"])
    shutil.copy(work / "password", root / "tmp/password")
    os.chmod(root / "tmp/password", 0o644)
    binary = "/usr/lib/postgresql/17/bin"
    as_postgres = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    init = f"{binary}/initdb -U {env['POSTGRES_USER']} -A scram-sha-256 --pwfile=/tmp/password {place}"
    run(*inside(root, [*as_postgres, "sh", "-ec", init], env=Image(root).env))
    with (root / place.lstrip("/") / "pg_hba.conf").open("a") as file:
        file.write(f"host all all {NETWORK}.0/24 scram-sha-256\n")
    serve = [*as_postgres, f"{binary}/postgres", "-D", place, "-c", "listen_addresses=*", "-k", "/tmp"]
    enter = inside(root, serve, env=Image(root).env)
    process = subprocess.Popen(["ip", "netns", "exec", "qfast-database", *enter], stderr=subprocess.PIPE, text=True)
    try:
        login = f"postgresql://{env['POSTGRES_USER']}:{env['POSTGRES_PASSWORD']}@{containers.addresses['database']}"
        psql = [
            "ip",
            "netns",
            "exec",
            "qfast-database",
            *inside(root, [f"{binary}/psql", f"{login}/postgres", "-c"], env=Image(root).env),
        ]
        until("the database answers", lambda: subprocess.run([*psql, "SELECT 1"], capture_output=True).returncode == 0)
        run(*psql, f"CREATE DATABASE {env['POSTGRES_DB']}")
        say("database: PostgreSQL 17")
        yield
    finally:
        process.terminate()
        process.wait(30)


def main() -> None:
    """Prove both files."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--work", type=Path, help="folder for the roots, 2 GB (a temporary one)")
    given = parser.parse_args()
    if os.geteuid():
        sys.exit("roots and namespaces need root")
    with tempfile.TemporaryDirectory(prefix="qfast-prove-") as temporary:
        work = (given.work or Path(temporary)).absolute()
        work.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(work / "volumes", ignore_errors=True)
        image = build(DEPLOY / "Dockerfile", work)
        with Containers(work, image) as containers:
            for name in ("database", "node-a", "node-b"):
                containers.network(name)
            prove_image(image, containers)
            prove_compose(image, containers, work)
    say("all as expected")


if __name__ == "__main__":
    main()
