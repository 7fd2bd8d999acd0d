"""A real privacyIDEA on loopback, set up for one test: SQLite, people, policies, tokens, and the keys of their phones.

Reads its order as JSON from standard input, writes one line of JSON when it listens, serves until it is killed.
"""
import ctypes
import json
import os
import secrets
import signal
import socket
import sys
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

REALM = "partner"


def die_with_parent(_server, _worker):
    """A worker must not outlive the test that started it."""
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def pem(key, what):
    if what == "private":
        return key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def write_config(folder):
    (folder / "enckey").write_bytes(os.urandom(96))
    audit = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    (folder / "private.pem").write_bytes(pem(audit, "private"))
    (folder / "public.pem").write_bytes(pem(audit, "public"))
    (folder / "users").write_text("")
    (folder / "pi.cfg").write_text(
        f"""SECRET_KEY = {secrets.token_hex(24)!r}
PI_PEPPER = {secrets.token_hex(24)!r}
SQLALCHEMY_DATABASE_URI = "sqlite:///{folder}/pi.sqlite"
PI_ENCFILE = "{folder}/enckey"
PI_AUDIT_KEY_PRIVATE = "{folder}/private.pem"
PI_AUDIT_KEY_PUBLIC = "{folder}/public.pem"
PI_AUDIT_SQL_TRUNCATE = True
PI_LOGFILE = "{folder}/log"
PI_LOGLEVEL = 40
"""
    )


def enrol(folder, user, kind, order):
    """One token; of a push token the phone's half too."""
    from privacyidea.lib.token import init_token

    name = user.login
    if kind == "push":
        token = init_token({"type": "push", "genkey": 1, "push_firebase_configuration": "poll only"}, user=user)
        phone = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        public = b"".join(pem(phone, "public").splitlines()[1:-1]).decode()
        public = public.replace("+", "-").replace("/", "_")
        credential = token.get_tokeninfo("enrollment_credential")
        told = {"serial": token.token.serial, "enrollment_credential": credential}
        token.update(told | {"pubkey": public, "fbtoken": "poll only"})
        (folder / f"{name}.pem").write_bytes(pem(phone, "private"))
    elif kind == "sms":
        token = init_token({"type": "sms", "genkey": 1, "phone": order["phones"][name]}, user=user)
    elif kind == "totp":
        token = init_token({"type": "totp", "otpkey": order["totp"]}, user=user)
    else:
        raise ValueError(kind)
    return token.token.serial


def hurry():
    """The server's half of a push token has 4096 bits, a second each; no claim hangs on that."""
    from privacyidea.lib.tokens import pushtoken

    make = pushtoken.generate_keypair
    pushtoken.generate_keypair = lambda rsa_keysize=2048: make(rsa_keysize=2048)


def prepare(folder, order):
    from privacyidea.lib.auth import create_db_admin
    from privacyidea.lib.config import set_privacyidea_config
    from privacyidea.lib.policy import set_policy
    from privacyidea.lib.realm import set_realm
    from privacyidea.lib.resolver import save_resolver
    from privacyidea.lib.smsprovider.SMSProvider import set_smsgateway
    from privacyidea.lib.user import User
    from privacyidea.models import db

    db.create_all()
    people = list(order["people"])
    (folder / "users").write_text(
        "".join(f"{name}:x:{1000 + n}:1000:{name},,,,:/:/bin/false\n" for n, name in enumerate(people))
    )
    create_db_admin("service", password=order["password"])
    save_resolver({"resolver": "people", "type": "passwdresolver", "fileName": str(folder / "users")})
    set_realm(REALM, [{"name": "people"}])
    set_smsgateway(
        "loopback",
        "privacyidea.lib.smsprovider.HttpSMSProvider.HttpSMSProvider",
        options={"URL": order["sms"], "HTTP_METHOD": "POST", "to": "{phone}", "text": "{otp}"},
    )
    set_privacyidea_config("sms.identifier", "loopback")
    set_policy("enrol", scope="enrollment",
               action="push_registration_url=http://127.0.0.1/ttype/push, push_firebase_configuration=poll only")
    set_policy("gateway", scope="admin", action="triggerchallenge", adminuser="service")
    set_policy("by-type", scope="authorization", action="application_tokentype")
    set_policy("phone", scope="authentication", action="push_allow_polling=allow")
    if order.get("presence"):
        set_policy("number", scope="authentication", user=order["presence"],
                   action="push_require_presence, push_presence_options=NUMERIC")
    if order.get("no_token"):
        set_policy("no-token", scope="authentication", user=order["no_token"], action="passOnNoToken")
    serials = {}
    for name, kinds in order["people"].items():
        user = User(name, realm=REALM)
        for kind in kinds:
            serials.setdefault(name, {})[kind] = enrol(folder, user, kind, order)
    (folder / "serials.json").write_text(json.dumps(serials))


def jwt(app, password):
    """Signing in takes half a second of computing each time."""
    reply = app.test_client().post("/auth", data={"username": "service", "password": password})
    return reply.json["result"]["value"]["token"]


def main():
    order = json.load(sys.stdin)
    folder = Path(order["folder"])
    write_config(folder)
    # Whatever is written on the way is nobody's answer.
    answer = os.dup(1)
    os.dup2(2, 1)
    from gunicorn.app.base import BaseApplication
    from privacyidea.app import create_app

    app = create_app(config_name="production", config_file=str(folder / "pi.cfg"), silent=True)
    hurry()
    with app.app_context():
        prepare(folder, order)
    token = jwt(app, order["password"])
    with app.app_context():
        from privacyidea.models import db

        # A worker opens the file for itself.
        db.session.remove()
        db.engine.dispose()

    listener = socket.create_server(("127.0.0.1", 0))
    os.set_inheritable(listener.fileno(), True)
    port = listener.getsockname()[1]

    class Served(BaseApplication):
        def load_config(self):
            self.cfg.set("bind", f"fd://{listener.fileno()}")
            self.cfg.set("worker_class", "gthread")
            self.cfg.set("threads", 8)
            self.cfg.set("keepalive", 60)
            self.cfg.set("loglevel", "error")
            self.cfg.set("post_fork", die_with_parent)
            self.cfg.set("control_socket_disable", True)

        def load(self):
            return app

    os.write(answer, (json.dumps({"port": port, "token": token}) + "\n").encode())
    os.close(answer)
    Served().run()


if __name__ == "__main__":
    main()
