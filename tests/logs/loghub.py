"""Lines of logs of many programs, made from a seed: of clusters, phones, servers and pipelines, in
several scripts, with emoji and the escapes of terminals."""

import random
from collections.abc import Callable, Iterator

_HOSTS = ("mesos-01", "db-2.internal", "10.251.43.21", "10.0.0.7", "fe80::1ff:fe23:4567:890a")
_USERS = ("root", "curi", "José", "müller", "Łukasz", "Дмитрий", "zoë")
_PATHS = (
    "/var/log/syslog",
    "C:\\Windows\\Temp\\x.tmp",
    "/home/josé/naïve_façade.py",
    "./src/main.c++",
)
_CLASSES = (
    *("dfs.DataNode$PacketResponder", "executor.Executor", "storage.BlockManager"),
    *("ActivityManager", "PowerManagerService", "org.apache.zookeeper.server.NIOServerCnxn"),
)
_ERRORS = (
    *(
        "Connection refused",
        "timed out after",
        "authentication failure",
        "No such file or directory",
    ),
    *(
        "java.io.IOException: Broken pipe",
        "OutOfMemoryError",
        "KeyError",
        "C++ exception",
        "C# task",
    ),
)
_CHINESE = "测试失败成功部署完成用户登录连接数据库超时请稍后重试错误代码系统服务启动停止"
_JAPANESE = "ログイン失敗しました。データベース接続エラーが発生再試行サーバー起動完了"
_KOREAN = ("오류가", "발생했습니다", "데이터베이스", "연결", "실패", "사용자", "로그인", "완료")
_THAI = ("การเชื่อมต่อ", "ล้มเหลว", "สำเร็จ", "ผู้ใช้", "ข้อผิดพลาด", "เริ่ม")
_OTHERS = (
    *("ຜິດພາດ", "ສຳເລັດ", "កំហុស", "ជោគជ័យ", "အမှားဖြစ်ပွား", "အောင်မြင်", "त्रुटि", "कनेक्शन"),
    *("ошибка", "подключение", "σφάλμα", "σύνδεση", "שגיאה", "خطأ", "اتصال", "Größe", "Überlauf"),
)
_EMOJI = ("🔥", "✅", "❌", "⚠️", "🚀", "👩‍💻", "👍🏽", "🇩🇪", "❤️", "1️⃣", "🐛")
_SIGNS = ("=", "->", "=>", "<=", "|", "~", "$", "€", "±", "→", "✓", "•", "…", "—", "°")


class Lines:
    """Makes lines of logs, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311
        self._kinds: tuple[Callable[[], str], ...] = (
            *(self._hdfs, self._spark, self._android, self._linux, self._nginx, self._python),
            *(self._zookeeper, self._pipeline, self._chinese, self._japanese, self._korean),
            *(self._thai, self._mixed, self._coloured, self._linked, self._noise),
        )

    def __iter__(self) -> Iterator[str]:
        while True:
            yield self._random.choice(self._kinds)()

    def _of(self, *choices: str) -> str:
        return self._random.choice(choices)

    def _number(self, most: int = 99_999) -> int:
        return self._random.randint(0, most)

    def _time(self) -> str:
        clock = f"{self._number(23):02}:{self._number(59):02}:{self._number(59):02}"
        return self._of(
            f"2026-03-{self._number(28):02}T{clock}Z", f"Mar {self._number(28)} {clock}"
        )

    def _hdfs(self) -> str:
        block = f"blk_{self._of('-', '')}{self._number(10**6)}"
        return self._of(
            f"081109 {self._number()} {self._number(200)} INFO {self._of(*_CLASSES)}: PacketResponder"  # noqa: E501
            f" {self._number(2)} for block {block} terminating",
            f"BLOCK* NameSystem.addStoredBlock: blockMap updated: {self._of(*_HOSTS)}:50010 is added"  # noqa: E501
            f" to {block} size {self._number(10**8)}",
            f"Received block {block} of size {self._number(10**8)} from /{self._of(*_HOSTS)}",
        )

    def _spark(self) -> str:
        task, stage = self._number(40), self._number(9)
        return (
            f"17/06/09 20:10:{self._number(59):02} INFO {self._of(*_CLASSES)}: Finished task {task}.0"  # noqa: E501
            f" in stage {stage}.0 (TID {self._number(900)}). {self._number(9999)} bytes result sent"
        )

    def _android(self) -> str:
        return (
            f"03-17 16:13:{self._number(59):02}.{self._number(999):03} {self._number(9999)}"
            f" {self._number(9999)} {self._of('D', 'V', 'I', 'W', 'E')} {self._of(*_CLASSES)}: "
            f"acquire lock={self._number()}, flags=0x{self._number():x},"
            f' tag="{self._of("View Lock", "RILJ_ACK_WL", "*launch*")}", ws=null, uid={self._number()}'  # noqa: E501
        )

    def _linux(self) -> str:
        return (
            f"{self._time()} combo sshd(pam_unix)[{self._number()}]: {self._of(*_ERRORS)}; logname="
            f" uid=0 euid=0 tty=NODEVssh ruser= rhost={self._of(*_HOSTS)} user={self._of(*_USERS)}"
        )

    def _nginx(self) -> str:
        return (
            f'{self._of(*_HOSTS)} - {self._of(*_USERS)} [{self._time()}] "{self._of("GET", "POST")} '  # noqa: E501
            f"/api/v{self._number(3)}/projects/{self._number(50)}?q=a%20b&limit={self._number(500)}"
            f' HTTP/1.1" {self._of("200", "404", "502")} {self._number()} "-" "curl/7.{self._number(90)}"'  # noqa: E501
        )

    def _python(self) -> str:
        return self._of(
            f'Traceback (most recent call last):\n  File "{self._of(*_PATHS)}", line {self._number(900)},'  # noqa: E501
            f" in main\n    result = await client.get(url)\n             ^^^^^^^~~~~~\n"
            f"{self._of(*_ERRORS)}: '{self._of(*_USERS)}'",
            f"=== {self._number(90)} passed, {self._number(9)} failed in {self._number(60)}.5s ===",
            f"E   assert {self._number(9)} == {self._number(9)}  # x²>½",
        )

    def _zookeeper(self) -> str:
        return (
            f"{self._time()} - WARN [QuorumPeer[myid={self._number(3)}]/0:0:0:0:0:0:0:0:2181:"
            f"{self._of(*_CLASSES)}@{self._number(900)}] - {self._of(*_ERRORS)} {self._of(*_HOSTS)}"
        )

    def _pipeline(self) -> str:
        return (
            f"{self._of(*_EMOJI)} {self._of('build', 'Deploy', 'TEST')} v{self._number(3)}."
            f"{self._number(20)}.{self._number(9)} {self._of(*_SIGNS)} {self._of('failed', 'passed')}"  # noqa: E501
            f" {self._of(*_EMOJI)}{self._of('', *_EMOJI)}"
        )

    def _part(self, text: str, most: int = 9) -> str:
        start = self._random.randrange(len(text))
        return text[start : start + self._random.randint(1, most)]

    def _chinese(self) -> str:
        return (
            f"{self._part(_CHINESE)}{self._of('，', '：', ' ', '')}{self._part(_CHINESE)}"  # noqa: RUF001
            f"v{self._number(3)}.{self._number(9)}{self._part(_CHINESE, 3)} {self._of('OK', '失败', '。')}"  # noqa: E501
        )

    def _japanese(self) -> str:
        return f"[{self._of(*_USERS)}] {self._part(_JAPANESE, 14)}{self._number(99)}{self._part(_JAPANESE)}"  # noqa: E501

    def _korean(self) -> str:
        return f"{self._of(*_KOREAN)} {self._of(*_KOREAN)}: {self._of(*_KOREAN)}{self._number(99)}"

    def _thai(self) -> str:
        return f"{self._of(*_THAI)}{self._of(*_THAI)} {self._of(*_THAI)} ({self._number(500)} ms)"

    def _mixed(self) -> str:
        return " ".join(
            self._of(*_OTHERS, *_ERRORS, *_SIGNS) for _ in range(self._random.randint(1, 7))
        )

    def _coloured(self) -> str:
        level, colour = self._random.choice(
            (("ERROR", 31), ("WARN", 33), ("INFO", 32), ("失败", 91))
        )
        return self._of(
            f"\x1b[{colour}m{level}\x1b[0m {self._of(*_ERRORS)}",
            f"\x1b[1;{colour}m{level[0]}\x1b[0m{level[1:]}: \x1b[2K\x1b[4m{self._of(*_PATHS)}\x1b[m",  # noqa: E501
            f"{self._number(99)}%\x1b[20C{level}\x1b[K\x1b(B",
        )

    def _linked(self) -> str:
        return (
            f"\x1b]8;;https://ci.example/{self._number(99)}\x1b\\job {self._number(99)}\x1b]8;;\x1b\\"  # noqa: E501
            f" \x1b]0;building\x07{self._of(*_EMOJI)} {self._of('queued', 'running', 'cancelled')}"
        )

    def _noise(self) -> str:
        return "".join(
            self._of(
                *"aB1_-./ \t\n=<>|$€±éЖßΩ", "失", "败", "オ", "ล้", "🔥", "✓", "e\u0301", "\x1b[m"
            )
            for _ in range(self._random.randint(1, 40))
        )


class Searches:
    """Makes texts to search for, mostly parts of the lines."""

    def __init__(self, seed: int, lines: list[str]) -> None:
        self._random = random.Random(seed)  # noqa: S311
        self._lines = lines

    def __iter__(self) -> Iterator[str]:
        kinds = (
            self._terms,
            self._terms,
            self._slice,
            self._slice,
            self._short,
            self._changed,
            self._other,
        )
        while True:
            yield self._random.choice(kinds)()[:255]

    def _line(self) -> str:
        return self._random.choice(self._lines)

    def _terms(self) -> str:
        terms = self._line().split()
        return " ".join(self._random.sample(terms, min(len(terms), self._random.randint(1, 3))))

    def _slice(self) -> str:
        line = self._line()
        start = self._random.randrange(len(line))
        return line[start : start + self._random.randint(1, 25)]

    def _short(self) -> str:
        line = self._line()
        start = self._random.randrange(len(line))
        return line[start : start + self._random.randint(1, 3)]

    def _changed(self) -> str:
        text = self._terms()
        return self._random.choice(
            (text.upper(), text.lower(), text.title(), text[::-1], f"({text})")
        )

    def _other(self) -> str:
        return self._random.choice(
            (
                *(
                    "失败",
                    "测试失败",
                    "v1.2",
                    "OK",
                    "ERROR",
                    "🔥",
                    "C++",
                    "C:\\",
                    "C#",
                    "--",
                    "",
                    "エラー",
                ),
                *(
                    "ล้มเหลว",
                    "오류",
                    "=",
                    "->",
                    "user=root",
                    "👍",
                    "👩‍💻",
                    "30m",
                    "absent",
                    "失 败",
                    "x²",
                ),
            )
        )
