"""An HS256 token from the standard library alone."""
import base64, hashlib, hmac, json, time


def token(secret, user):
    part = lambda d: base64.urlsafe_b64encode(d).rstrip(b"=")
    head = part(b'{"alg":"HS256","typ":"JWT"}') + b"." + part(json.dumps({"iat": int(time.time()), "user": user}).encode())
    return (head + b"." + part(hmac.new(secret.encode(), head, hashlib.sha256).digest())).decode()
