"""Heads and bodies of requests that are refused before the search for a route."""

HOST = b"Host: strongroom.test\r\n"
ORIGIN = "https://app.example.com"
"""The origin of the pages that may call the servers in these tests."""

HEADS: dict[str, tuple[bytes, int, str]] = {
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400, "bad_request"),
    "two hosts": (b"GET / HTTP/1.1\r\n" + HOST + b"Host: b.test\r\n\r\n", 400, "bad_request"),
    "one host twice": (b"GET / HTTP/1.1\r\n" + HOST + HOST + b"\r\n", 400, "bad_request"),
    "two hosts in HTTP/1.0": (b"GET / HTTP/1.0\r\n" + HOST * 2 + b"\r\n", 400, "bad_request"),
    "two hosts in one": (b"GET / HTTP/1.1\r\nHost: a.test, b.test\r\n\r\n", 400, "bad_request"),
    "a host of 10 kB": (
        b"GET / HTTP/1.1\r\nHost: " + b"a" * 10_000 + b"\r\n\r\n",
        *(400, "bad_request"),
    ),
    "a host with a user": (b"GET / HTTP/1.1\r\nHost: a@b.test\r\n\r\n", 400, "bad_request"),
    "a host with a path": (b"GET / HTTP/1.1\r\nHost: a.test/b\r\n\r\n", 400, "bad_request"),
    "a host of two words": (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400, "bad_request"),
    "a host with two ports": (b"GET / HTTP/1.1\r\nHost: a:1:2\r\n\r\n", 400, "bad_request"),
    "a port that is no number": (b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", 400, "bad_request"),
    "a port beyond counting": (b"GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", 400, "bad_request"),
    "hosts in a list": (b"GET / HTTP/1.1\r\nHost: a.test,b.test\r\n\r\n", 400, "bad_request"),
    "an address of colons": (b"GET / HTTP/1.1\r\nHost: [:::::]\r\n\r\n", 400, "bad_request"),
    "an address of another kind": (
        b"GET / HTTP/1.1\r\nHost: [127.0.0.1]\r\n\r\n",
        *(400, "bad_request"),
    ),
    "an open bracket": (b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400, "bad_request"),
    "an address without brackets": (b"GET / HTTP/1.1\r\nHost: ::1\r\n\r\n", 400, "bad_request"),
    "raw bytes in the host": (b"GET / HTTP/1.1\r\nHost: \xc3\xa9\r\n\r\n", 400, "bad_request"),
    "two tokens": (
        b"GET / HTTP/1.1\r\n"
        + HOST
        + b"Authorization: Bearer a\r\nauthorization: Bearer b\r\n\r\n",
        *(400, "bad_request"),
    ),
    "two media types": (
        b"GET / HTTP/1.1\r\n" + HOST + b"Content-Type: a/b\r\nContent-Type: c/d\r\n\r\n",
        *(400, "bad_request"),
    ),
    "two lengths": (
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        *(400, "bad_request"),
    ),
    "one length twice": (
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\na",
        *(400, "bad_request"),
    ),
    "a list of lengths": (
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1, 1\r\n\r\na",
        *(400, "bad_request"),
    ),
    "a length with a sign": (
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: +1\r\n\r\na",
        *(400, "bad_request"),
    ),
    "a length and chunks": (
        b"POST / HTTP/1.1\r\n"
        + HOST
        + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        *(400, "bad_request"),
    ),
    "chunks and a length": (
        b"POST / HTTP/1.1\r\n"
        + HOST
        + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
        *(400, "bad_request"),
    ),
    "chunks in HTTP/1.0": (
        b"POST / HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        *(400, "bad_request"),
    ),
    "compressed chunks": (
        b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        *(400, "bad_request"),
    ),
    "another coding": (
        b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: identity\r\n\r\n",
        *(400, "bad_request"),
    ),
    "almost chunked": (
        b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        *(400, "bad_request"),
    ),
    "chunked, and then not": (
        b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        *(400, "bad_request"),
    ),
    "nothing, and then chunked": (
        b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n",
        *(400, "bad_request"),
    ),
    "chunked twice": (
        b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n0\r\n\r\n",
        *(400, "bad_request"),
    ),
    "a folded header": (b"GET / HTTP/1.1\r\n" + HOST + b"X: a\r\n b\r\n\r\n", 400, "bad_request"),
    "a bare LF": (b"GET / HTTP/1.1\nHost: a\n\n", 400, "bad_request"),
    "a bare LF in headers": (b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", 400, "bad_request"),
    "a bare CR": (b"GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", 400, "bad_request"),
    "a space before the colon": (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400, "bad_request"),
    "a space before the name": (b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400, "bad_request"),
    "a name with brackets": (b"GET / HTTP/1.1\r\n" + HOST + b"X(): 1\r\n\r\n", 400, "bad_request"),
    "no name": (b"GET / HTTP/1.1\r\n" + HOST + b": 1\r\n\r\n", 400, "bad_request"),
    "no colon": (b"GET / HTTP/1.1\r\n" + HOST + b"X\r\n\r\n", 400, "bad_request"),
    "a NUL": (b"GET / HTTP/1.1\r\n" + HOST + b"X: a\0\r\n\r\n", 400, "bad_request"),
    "HTTP/0.9": (b"GET /\r\n\r\n", 400, "bad_request"),
    "HTTP/1.2": (b"GET / HTTP/1.2\r\n" + HOST + b"\r\n", 400, "bad_request"),
    "HTTP/2.0": (b"GET / HTTP/2.0\r\n" + HOST + b"\r\n", 400, "bad_request"),
    "the preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "bad_request"),
    "a method in small letters": (b"get / HTTP/1.1\r\n" + HOST + b"\r\n", 400, "bad_request"),
    "a method of 100 kB": (
        b"X" * 100_000 + b" / HTTP/1.1\r\n" + HOST + b"\r\n",
        400,
        "bad_request",
    ),
    "the whole service": (b"GET * HTTP/1.1\r\n" + HOST + b"\r\n", 400, "bad_request"),
    "a host of a URL beyond counting": (
        b"GET http://a:99999/health HTTP/1.1\r\n" + HOST + b"\r\n",
        *(400, "bad_request"),
    ),
    "a percent sign at the end": (
        b"GET /api/projects/1/secrets/% HTTP/1.1\r\n" + HOST + b"\r\n",
        *(400, "bad_request"),
    ),
    "a malformed escape": (
        b"GET /health%zz HTTP/1.1\r\n" + HOST + b"\r\n",
        *(400, "bad_request"),
    ),
    "a fragment": (b"GET /health#x HTTP/1.1\r\n" + HOST + b"\r\n", 400, "bad_request"),
    "a user in the URL": (b"GET http://u:p@a/ HTTP/1.1\r\n" + HOST + b"\r\n", 400, "bad_request"),
    "a URL of another scheme": (
        b"GET ftp://a.test/health HTTP/1.1\r\n" + HOST + b"\r\n",
        *(400, "bad_request"),
    ),
    "a URL without a host": (
        b"GET http:///health HTTP/1.1\r\n" + HOST + b"\r\n",
        400,
        "bad_request",
    ),
    "nothing but a scheme": (b"GET http:// HTTP/1.1\r\n" + HOST + b"\r\n", 400, "bad_request"),
    "no path": (b"GET health HTTP/1.1\r\n" + HOST + b"\r\n", 400, "bad_request"),
    "a tunnel": (b"CONNECT a.test:1 HTTP/1.1\r\n" + HOST + b"\r\n", 400, "bad_request"),
    "an encoded slash": (b"GET /api%2fprojects HTTP/1.1\r\n" + HOST + b"\r\n", 400, "bad_request"),
    "a path of 70 kB": (
        b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
        *(414, "uri_too_long"),
    ),
    "a query of 70 kB": (
        b"GET /health?" + b"x" * 70_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
        *(414, "uri_too_long"),
    ),
    "a header of 100 kB": (
        b"GET /health HTTP/1.1\r\n" + HOST + b"X: " + b"x" * 100_000 + b"\r\n\r\n",
        *(431, "headers_too_large"),
    ),
    "100 kB of blanks before a value": (
        b"GET /health HTTP/1.1\r\n" + HOST + b"X:" + b" " * 100_000 + b"x\r\n\r\n",
        *(431, "headers_too_large"),
    ),
    "100 kB of blanks behind a value": (
        b"GET /health HTTP/1.1\r\n" + HOST + b"X: x" + b"\t" * 100_000 + b"\r\n\r\n",
        *(431, "headers_too_large"),
    ),
    "a name of 100 kB": (
        b"GET /health HTTP/1.1\r\n" + HOST + b"x" * 100_000 + b": x\r\n\r\n",
        *(431, "headers_too_large"),
    ),
    "50,000 empty lines": (
        b"\r\n" * 50_000 + b"GET /health HTTP/1.1\r\n" + HOST + b"\r\n",
        *(431, "headers_too_large"),
    ),
    "100,000 empty lines of LF": (
        b"\n" * 100_000 + b"GET /health HTTP/1.1\r\n" + HOST + b"\r\n",
        *(431, "headers_too_large"),
    ),
    "a path of 1 MB": (
        b"GET /" + b"x" * 1_000_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
        *(414, "uri_too_long"),
    ),
    "headers of 100 kB": (
        b"GET /health HTTP/1.1\r\n" + HOST + b"X: x\r\n" * 17_000 + b"\r\n",
        *(431, "headers_too_large"),
    ),
}

BAD_CHUNKS = {
    "no size": b"zz\r\n{}\r\n0\r\n\r\n",
    "a negative size": b"-1\r\n{}\r\n0\r\n\r\n",
    "a size in C": b"0x2\r\n{}\r\n0\r\n\r\n",
    "a size beyond counting": b"fffffffffffffffff\r\n{}",
    "a space behind the size": b"2 \r\n{}\r\n0\r\n\r\n",
    "a bare LF": b"2\n{}\r\n0\r\n\r\n",
    "more than the size": b"2\r\n{}{}\r\n0\r\n\r\n",
    "a bad chunk behind a good one": b"2\r\n{}\r\nxx\r\n\r\n",
    "half an extension": b"2;\r\n{}\r\n0\r\n\r\n",
    "a space before an extension": b"2 ;x\r\n{}\r\n0\r\n\r\n",
    "a bare LF in an extension": b"2;a\nb\r\n{}\r\n0\r\n\r\n",
    "no end of a chunk": b"2\r\n{}0\r\n\r\n",
    "a folded trailer": b"2\r\n{}\r\n0\r\nX: a\r\n b\r\n\r\n",
    "a length as a trailer": b"2\r\n{}\r\n0\r\nContent-Length: 2\r\n\r\n",
    "a bad trailer": b"2\r\n{}\r\n0\r\nX y\r\n\r\n",
}

LONG_FRAMES = {
    "an extension of a chunk": b"2;x=" + b"x" * 100_000 + b"\r\n{}\r\n0\r\n\r\n",
    "a quoted extension": b'2;x="' + b"x" * 100_000 + b'"\r\n{}\r\n0\r\n\r\n',
    "the name of an extension": b"2;" + b"x" * 100_000 + b"\r\n{}\r\n0\r\n\r\n",
    "an extension of the last chunk": b"2\r\n{}\r\n0;" + b"x" * 100_000 + b"\r\n\r\n",
    "extensions of many chunks": (
        (b"1;" + b"x" * 5000 + b"\r\n \r\n") * 20 + b"2\r\n{}\r\n0\r\n\r\n"
    ),
    "noughts before a size": b"0" * 100_000 + b"2\r\n{}\r\n0\r\n\r\n",
    "a trailer": b"2\r\n{}\r\n0\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
    "trailers": b"2\r\n{}\r\n0\r\n" + b"X: x\r\n" * 17_000 + b"\r\n",
    "blanks in a trailer": b"2\r\n{}\r\n0\r\nX:" + b" " * 100_000 + b"x\r\n\r\n",
}
"""Chunked bodies with 100 kB of framing."""
