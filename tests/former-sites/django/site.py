"""A site of Django: `python site.py PORT DATABASE_URL ENGINE`, as SESSION_ENGINE has its name."""

import os
import sys
from urllib.parse import urlsplit
from wsgiref.simple_server import WSGIRequestHandler, make_server

import django
from django.conf import settings
from django.contrib.auth import get_user_model, login, logout
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path


def database(url):
    if url.startswith("sqlite:"):
        name = url.removeprefix("sqlite:").partition("?")[0]
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": name,
            # No machine goes down here, and each sync takes longer than all else.
            "OPTIONS": {"init_command": "PRAGMA synchronous=OFF;"},
        }
    if url.startswith("mysql:"):
        import pymysql

        # The driver that Django asks for is compiled against MySQL's library.
        pymysql.version_info = (2, 2, 1, "final", 0)
        pymysql.install_as_MySQLdb()
    parts = urlsplit(url)
    return {
        "ENGINE": "django.db.backends." + ("mysql" if parts.scheme == "mysql" else "postgresql"),
        "NAME": parts.path.lstrip("/"),
        "USER": parts.username or "",
        "PASSWORD": parts.password or "",
        "HOST": parts.hostname,
        "PORT": parts.port,
        # Its one thread keeps its connection.
        "CONN_MAX_AGE": None,
    }


def visit_of(user):
    """As tests/former-sites/src/lib.rs expects it."""
    return {
        "user": user,
        "name": f'User {user}, "Äda"',
        "cart": [["tea", 2], ["milk", 300]],
        "balance": -1 - user,
        "ratio": 0.25,
        "referrer": None,
        "seen": True,
    }


def log_in(request):
    number = int(request.GET["user"])
    user = get_user_model()(id=number, username=f"user{number}")
    user.set_password("correct horse battery staple")
    user.save()
    login(request, user)
    request.session["visit"] = visit_of(number)
    return HttpResponse("welcome")


def whoami(request):
    if not request.user.is_authenticated:
        return HttpResponse("nobody")
    return HttpResponse(f"user {request.session['visit']['user']}")


def change_password(request):
    """Without update_session_auth_hash: each session of the user ends, this one too."""
    request.user.set_password("another password")
    request.user.save()
    return HttpResponse("changed")


def deactivate(request):
    request.user.is_active = False
    request.user.save()
    return HttpResponse("inactive")


def log_out(request):
    logout(request)
    return HttpResponse("bye")


urlpatterns = [
    path("login", log_in),
    path("whoami", whoami),
    path("password", change_password),
    path("deactivate", deactivate),
    path("logout", log_out),
]


class Silent(WSGIRequestHandler):
    def log_message(self, *_):
        pass


if __name__ == "__main__":
    port, url, engine = sys.argv[1:]
    sessions = url.removeprefix("sqlite:").partition("?")[0] + ".sessions"
    if engine == "file":
        os.makedirs(sessions, exist_ok=True)
    settings.configure(
        ALLOWED_HOSTS=["127.0.0.1"],
        DATABASES={"default": database(url)},
        INSTALLED_APPS=[
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.sessions",
        ],
        MIDDLEWARE=[
            "django.middleware.common.CommonMiddleware",
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
        ],
        # The default takes a second for each login.
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        ROOT_URLCONF=__name__,
        SECRET_KEY="former secret",
        SESSION_FILE_PATH=sessions,
        SESSION_ENGINE=f"django.contrib.sessions.backends.{engine}",
        USE_TZ=True,
    )
    django.setup()
    call_command("migrate", verbosity=0)
    make_server("127.0.0.1", int(port), get_wsgi_application(), handler_class=Silent).serve_forever()
