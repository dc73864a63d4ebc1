"""The service by a real client against the run itself, and by machine-made requests."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import sha256
from inspect import signature
from pathlib import Path

import httpx
import polars as pl
import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode

from console import call
from invlearn import create_app
from invlearn.cli import serving
from invlearn.inference.recommend.recommendation import Recommender
from invlearn.inference.serving import schemas
from invlearn.inference.serving.middleware import BodyLimit
from invlearn.inference.serving.schemas import MAX_BODY_BYTES, MAX_K, MAX_PAIRS, MAX_USERS
from invlearn.inference.serving.server import check_address, read_token, serve
from invlearn.runtime.errors import ConfigError, InvlearnError
from shops import KNOWN, N_ITEMS, N_USERS, original, shop

TOKEN = "0123456789abcdef"
ID = "a whole number or a text of at most 256 characters is needed"
PAIR = "a list of two ids is needed, a user and an item"


@contextmanager
def live(app):
    """A client of a server that really listens."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return shop(tmp_path_factory.mktemp("shop"), "mf")[0]


@pytest.fixture(scope="module")
def app(run):
    return create_app(Recommender.of(run))


@pytest.fixture(scope="module")
def client(app):
    with live(app) as found:
        yield found


def test_scores_are_those_of_the_run(client, run):
    dense = [0, 3, 3, N_USERS - 1], [5, 0, N_ITEMS - 1, 5]
    users, items = original("user", dense[0]), original("item", dense[1])
    users[1] = str(users[1])
    pairs = [*zip(users, items, strict=True), ("who", items[0])]
    found = client.post("/score", json={"pairs": pairs}).json()
    assert found["logits"][:-1] == pytest.approx(run.score(*dense).tolist(), rel=1e-6)
    assert found["logits"][-1] is None
    assert found["unknown_pairs"] == 1


def test_lists_are_those_of_the_recommender(client, run):
    ready = Recommender.of(run)
    users = [*original("user", [2, KNOWN, 0]), "who"]
    only, never = original("item", range(0, 20)), original("item", [4])
    request = {"users": users, "k": 7, "items": only, "exclude_items": [*never, "what"]}
    found = client.post("/recommend", json=request).json()
    excluded = ready.items.dense(ready.items.ids[[4, *range(20, N_ITEMS)]])
    expected = {}
    dense = ready.users.dense(pl.Series([str(user) for user in users]))
    for block in ready.lists(dense, k=7, excluded=excluded):
        for place, items, scores in zip(block.places, *block.top[1:], strict=True):
            left = items[items >= 0]
            expected[users[place]] = (
                block.source, original("item", left), scores[: len(left)].tolist()
            )  # fmt: skip
    assert [one["user"] for one in found["lists"]] == users
    for one in found["lists"]:
        assert (one["source"], one["items"], one["scores"]) == expected[one["user"]]
    assert {one["source"] for one in found["lists"]} == {"model", "item-rate"}
    assert (found["unknown_users"], found["unknown_items"]) == (1, 1)


def test_no_known_item_is_an_empty_list_and_a_whole_number_is_an_id(client):
    request = {"users": [float(original("user", [2])[0])], "items": ["none"]}
    answer = client.post("/recommend", json=request).json()
    (found,) = answer["lists"]
    assert answer["unknown_items"] == 1
    assert found == {"user": original("user", [2])[0], "source": "model", "items": [], "scores": []}


def test_seen_items_come_on_request_and_without_fallback_nobody_answers(run):
    user = original("user", [2])
    with live(create_app(Recommender.of(run, fallback="none"))) as client:
        request = {"users": [*user, "who"], "k": N_ITEMS}
        without = client.post("/recommend", json=request).json()["lists"]
        every = client.post("/recommend", json=request | {"exclude_seen": False}).json()["lists"]
    assert len(every[0]["items"]) == N_ITEMS > len(without[0]["items"])
    assert every[1] == {"user": "who", "source": None, "items": [], "scores": []}


@pytest.mark.parametrize(
    ("path", "request_", "status", "said"),
    [
        ("/score", {"pairs": [[1]]}, 422, f"pairs.0: {PAIR}; got [1]"),
        ("/score", {"pairs": [[1, 2, 3]]}, 422, f"pairs.0: {PAIR}; got [1, 2, 3]"),
        ("/score", {"pairs": [1]}, 422, f"pairs.0: {PAIR}; got 1"),
        ("/score", {}, 422, "pairs: a value is needed"),
        ("/score", [], 422, "the body must be a JSON object"),
        ("/score", {"pairs": [[1.5, 1]]}, 422, f"pairs.0.0: {ID}; got 1.5"),
        ("/score", {"pairs": [[1, True]]}, 422, f"pairs.0.1: {ID}; got true"),
        ("/score", {"pairs": [["x" * 257, 1]]}, 422, f'pairs.0.0: {ID}; got "xxx'),
        ("/score", {"pairs": []}, 422, "pairs: at least one is needed"),
        ("/score", {"pairs": 7}, 422, "pairs: a list is needed; got 7"),
        (
            "/score",
            {"pairs": [[0, 0]] * (MAX_PAIRS + 1)},
            422,
            f"pairs: at most {MAX_PAIRS:,} are allowed; got {MAX_PAIRS + 1:,}",
        ),
        (
            "/recommend",
            {"users": [0] * (MAX_USERS + 1)},
            422,
            f"users: at most {MAX_USERS} are allowed",
        ),
        ("/recommend", {"users": [1], "k": MAX_K + 1}, 422, f"k: a number of at most {MAX_K} is"),
        ("/recommend", {"users": [1], "k": 0}, 422, "k: a number of at least 1 is needed; got 0"),
        ("/recommend", {"users": [1], "k": "ten"}, 422, 'k: a whole number is needed; got "ten"'),
        ("/recommend", {"users": [1], "kk": 1}, 422, "kk: unknown option; did you mean 'k'?"),
        ("/recommend", {"users": [1], "exclude_seen": 1}, 422, "true or false is needed; got 1"),
        ("/recommend", {"users": [[]]}, 422, f"users.0: {ID}; got []"),
        ("/recommend", {"users": [1], "items": [{}]}, 422, f"items.0: {ID}; got {{}}"),
        ("/nowhere", {}, 404, "nothing at this path"),
        ("/health", {}, 405, "does not accept this method"),
    ],
)
def test_a_bad_request_is_refused_in_a_sentence(client, path, request_, status, said):
    answer = client.post(path, json=request_)
    assert answer.status_code == status
    assert set(answer.json()) == {"error"}
    assert said in answer.json()["error"]
    assert "Input should" not in answer.text


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded"])
@pytest.mark.parametrize("path", ["/score", "/recommend"])
def test_a_body_that_is_not_called_json_is_told_which_header_it_lacks(client, path, kind):
    headers = {} if kind is None else {"content-type": kind}
    answer = client.post(path, content=b'{"users": [1]}', headers=headers)
    assert answer.status_code == 422
    assert "send content-type: application/json" in answer.json()["error"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"users": [', 400),
        (b"\xff\xfe", 400),
        (b'{"users": ["\\ud800"]}', 422),
        (b'{"users": [1], "\\ud800": 2}', 422),
        (b"[" * 100_000, 400),
        (b"9" * 5000, 400),
        (b" " * (MAX_BODY_BYTES + 1), 413),
    ],
)
def test_a_body_that_is_no_request_is_refused(client, body, status):
    headers = {"content-type": "application/json"}
    answer = client.post("/recommend", content=body, headers=headers)
    assert (answer.status_code, set(answer.json())) == (status, {"error"})
    assert "parsing" not in answer.text


def test_a_long_body_is_refused_before_it_is_read():
    def pieces():
        while True:
            sent.append(1)
            yield {"type": "http.request", "body": b"x" * 10, "more_body": True}

    async def receive():
        return next(source)

    async def send(message):
        answers.append(message)

    sent, answers, source = [], [], pieces()
    asyncio.run(BodyLimit(None, max_bytes=25)({"type": "http"}, receive, send))
    assert (len(sent), answers[0]["status"]) == (3, 413)


def test_health_counts_answers(run):
    with live(create_app(Recommender.of(run))) as client:
        client.post("/score", json={"pairs": [[0, "a"], [1, "b"]]})
        client.post("/recommend", json={"users": ["a"], "exclude_items": ["b", "b", "c"]})
        found = client.get("/health").json()
    assert found["requests"] == 2
    assert [found[f"unknown_{kind}"] for kind in ("pairs", "users", "items")] == [2, 1, 2]


@pytest.mark.parametrize("token", [None, TOKEN])
def test_the_documentation_page_loads_only_files_of_the_service(run, token):
    with live(create_app(Recommender.of(run), token=token)) as client:
        page = client.get("/docs")
        assert page.headers["content-type"].startswith("text/html")
        loaded = re.findall(r'(?:src|href)="([^"]*)"', page.text)
        assert len(loaded) == 3
        assert "://" not in page.text
        for file in (*loaded, "/openapi.json"):
            answer = client.get(file)
            assert answer.status_code == 200
            assert len(answer.content) > 1000
        assert client.get("/docs/static/none.js").status_code == (404 if token is None else 401)
        assert client.get("/docs/static/../core.py").status_code in (401, 404)


def test_the_browser_is_told_to_run_only_the_scripts_of_the_page(client):
    page = client.get("/docs")
    policy = dict(
        rule.split(" ", 1) for rule in page.headers["content-security-policy"].split("; ")
    )
    assert policy["default-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    inline = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
    hashes = [b64encode(sha256(text.encode()).digest()).decode() for text in inline]
    assert policy["script-src"] == " ".join(["'self'", *(f"'sha256-{one}'" for one in hashes)])
    assert len(hashes) == 1
    assert re.findall(r"\son\w+=", page.text) == []  # handlers, which no hash would cover
    assert '"validatorUrl": null' in page.text


def test_the_description_has_limits_defaults_and_the_token(client):
    described = client.get("/openapi.json").json()
    request = described["components"]["schemas"]["RecommendRequest"]["properties"]
    assert (request["users"]["minItems"], request["users"]["maxItems"]) == (1, MAX_USERS)
    assert (request["k"]["maximum"], request["k"]["default"]) == (MAX_K, 10)
    assert request["k"]["description"] == "Length of the lists."
    assert "security" not in described["paths"]["/score"]["post"]
    with_token = create_app(None, token=TOKEN).openapi()
    assert with_token["paths"]["/score"]["post"]["security"] == [{"HTTPBearer": []}]
    assert with_token["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"


def test_every_example_of_the_description_is_what_it_describes(client):
    described = client.get("/openapi.json").json()["components"]["schemas"]
    for name, schema in described.items():
        for example in schema.get("examples", ()):
            getattr(schemas, name).model_validate(example)
    assert sum("examples" in schema for schema in described.values()) == 5


def test_the_examples_of_the_description_are_answered(client):
    described = client.get("/openapi.json").json()["components"]["schemas"]
    for path, name in (("/score", "ScoreRequest"), ("/recommend", "RecommendRequest")):
        (example,) = described[name]["examples"]
        assert client.post(path, json=example).status_code == 200


def test_the_page_does_not_repeat_the_host_header(run):
    with live(create_app(Recommender.of(run), token=TOKEN)) as client:
        page = client.get("/docs", headers={"host": "x'><script>alert(1)</script>"})
    assert "alert" not in page.text


def test_many_clients_at_once_get_their_own_answers(client):
    users = original("user", range(KNOWN)) * 8

    def ask(user):
        return client.post("/recommend", json={"users": [user], "k": 3}).json()["lists"][0]

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, users))
    assert [answer["user"] for answer in answers] == users
    for user in users[:KNOWN]:
        assert len({str(answer) for answer in answers if answer["user"] == user}) == 1


# Requests made by a machine


def at_localhost(app):
    """The service as asked by that name, for a client that has another one of its own."""

    async def asked(scope, receive, send):
        own = [(name, value) for name, value in scope["headers"] if name != b"host"]
        await app(scope | {"headers": [*own, (b"host", b"localhost")]}, receive, send)

    return asked


@pytest.mark.parametrize(
    ("path", "method", "mode"),
    [
        *(("/score", "POST", mode) for mode in GenerationMode),
        *(("/recommend", "POST", mode) for mode in GenerationMode),
        ("/health", "GET", GenerationMode.POSITIVE),
    ],
)
def test_no_request_breaks_the_service_and_every_answer_is_as_described(app, path, method, mode):
    operation = schemathesis.openapi.from_asgi("/openapi.json", at_localhost(app))[path][method]
    seen = set()

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(max_examples=60, deadline=None, suppress_health_check=[*HealthCheck])
    def check(case):
        answer = case.call()
        assert answer.status_code < 500
        if answer.status_code != 413:  # schemathesis does not know it as a refusal of bad data
            case.validate_response(answer)
        seen.add(answer.status_code)

    check()
    assert seen & ({200} if mode == GenerationMode.POSITIVE else {400, 422})


# Tokens and addresses


def test_with_a_token_nothing_about_the_data_is_said_without_it(run):
    with live(create_app(Recommender.of(run), token=TOKEN)) as client:
        for headers in ({}, {"authorization": f"Bearer {TOKEN}x"}, {"authorization": TOKEN}):
            for path in ("/score", "/recommend", "/nowhere"):
                answer = client.post(path, json={"users": [1]}, headers=headers)
                assert answer.status_code == 401
                assert answer.headers["www-authenticate"] == "Bearer"
        assert client.get("/health").status_code == 200
        right = {"authorization": f"Bearer {TOKEN}"}
        assert client.post("/recommend", json={"users": [1]}, headers=right).status_code == 200


@pytest.mark.parametrize("token", ["", "x" * 15])
def test_an_application_takes_no_token_that_could_be_guessed(run, token):
    with pytest.raises(ConfigError, match=f"at least 16 characters; found {len(token)}"):
        create_app(Recommender.of(run), token=token)


def test_without_a_token_only_this_machine_s_own_names_are_answered(run, client):
    for name in ("localhost:80", "LOCALHOST", "127.0.0.1", "[::1]:8000"):
        assert client.get("/health", headers={"host": name}).status_code == 200
    for name in ("evil.example", "127.0.0.1.evil.example:80", "localhost.evil.example", "::", ""):
        for path in ("/health", "/docs", "/recommend"):
            answer = client.request("GET", path, headers={"host": name})
            assert (answer.status_code, set(answer.json())) == (400, {"error"})
    with live(create_app(Recommender.of(run), token=TOKEN)) as closed:
        headers = {"host": "shop.example", "authorization": f"Bearer {TOKEN}"}
        answer = closed.post("/recommend", json={"users": [1]}, headers=headers)
        assert answer.status_code == 200


def test_people_are_not_served_what_they_have_seen_in_any_part():
    for function in (serve, serving.serve):
        assert signature(function).parameters["leave_out"].default == "all"


@pytest.mark.parametrize(
    ("host", "token", "said"),
    [
        ("0.0.0.0", None, "anyone who reaches 0.0.0.0"),
        ("::", None, "anyone who reaches ::"),
        ("example.org", None, "set a token"),
        ("127.0.0.1", "short", "at least 16 characters; found 5"),
        ("0.0.0.0", "", "at least 16 characters"),
    ],
)
def test_an_open_door_is_refused(host, token, said):
    with pytest.raises(ConfigError, match=said):
        check_address(host, token)
    check_address("127.0.0.1", None)
    check_address("0.0.0.0", TOKEN)


def test_the_token_comes_from_a_file_or_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv("INVLEARN_TOKEN", raising=False)
    assert read_token(None) is None
    monkeypatch.setenv("INVLEARN_TOKEN", "of the environment")
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    assert read_token(None) == "of the environment"
    assert read_token(tmp_path / "token") == TOKEN
    with pytest.raises(ConfigError, match="cannot read the token"):
        read_token(tmp_path / "none")


def test_an_address_that_is_taken_and_missing_packages_are_told(run, client, monkeypatch):
    with pytest.raises(InvlearnError, match="cannot listen on 127"):
        serve(run, port=client.base_url.port)
    with pytest.raises(ConfigError, match="from 0 to 65535; found 99999"):
        serve(run, port=99999)
    with pytest.raises(ConfigError, match="at least one thread"):
        serve(run, threads=0)
    monkeypatch.setattr("invlearn.runtime.environment.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"pip install 'invlearn\[serve\]'"):
        create_app(None)


def test_an_answer_s_body_does_not_wait_for_its_head_to_be_acknowledged(run, monkeypatch):
    def connected(_, listeners):
        address = listeners[0].getsockname()
        with socket.create_connection(address), listeners[0].accept()[0] as accepted:
            found.append(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    found = []
    monkeypatch.setattr(uvicorn.Server, "run", connected)
    serve(run, port=0)
    assert found == [1]


# The command


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGINT,
        pytest.param(signal.SIGTERM, marks=pytest.mark.slow),  # as services of test_served_files
    ],
)
def test_the_command_serves_until_it_is_told_to_stop(number, feed):
    command = Path(sys.executable).with_name("invlearn")
    serving = subprocess.Popen(
        [command, "serve", feed.none, "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "COLUMNS": "80"},
    )
    first = serving.stdout.readline()
    address = first.partition(" at ")[2].partition(";")[0]
    assert httpx.get(f"{address}/health", timeout=60).json()["status"] == "ok"
    serving.send_signal(number)
    _, err = serving.communicate(timeout=60)
    assert (serving.returncode, err) == (0, "")


def test_the_command_refuses_an_open_door(feed, monkeypatch):
    monkeypatch.delenv("INVLEARN_TOKEN", raising=False)
    answer = call("serve", feed.none, "--host", "0.0.0.0")
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert "--token-file" in answer.err
