"""Debian's Chromium, driven over its own protocol: pages, keys, pointers and pictures of what is seen."""

import base64
import itertools
import json
import shutil
import subprocess
import time
import urllib.request

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
WAIT = 20
_KEYS = {
    "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Escape": 27, "Tab": 9, "Enter": 13,
}  # fmt: skip
SHIFT = 8


class Browser:
    """A context manager: one window without a screen, and one page in it."""

    def __init__(self, place):
        self.place = place

    def __enter__(self):
        import websocket

        self.process = subprocess.Popen(
            [
                CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                "--remote-debugging-port=0", "--no-first-run", "--disable-background-networking", "--disable-sync",
                "--disable-component-update", f"--user-data-dir={self.place}", "about:blank",
            ],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        port_file = self.place / "DevToolsActivePort"
        until(lambda: port_file.is_file() and port_file.read_text().strip(), 60)
        port = port_file.read_text().split("\n")[0]

        def first_page():
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=WAIT) as answer:
                return next((one for one in json.load(answer) if one["type"] == "page"), None)

        page = until(first_page)
        self.socket = websocket.create_connection(
            page["webSocketDebuggerUrl"], suppress_origin=True, timeout=60, enable_multithread=False
        )
        self.numbers = itertools.count(1)
        self.complaints = []
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(self, *error):
        self.socket.close()
        self.process.terminate()
        self.process.wait(WAIT)

    def call(self, method, **settings):
        """One command of the protocol, and its result."""
        number = next(self.numbers)
        self.socket.send(json.dumps({"id": number, "method": method, "params": settings}))
        while True:
            said = json.loads(self.socket.recv())
            if said.get("method") == "Runtime.exceptionThrown":
                self.complaints.append(said["params"]["exceptionDetails"]["exception"].get("description", "?"))
            if said.get("method") == "Log.entryAdded" and said["params"]["entry"]["source"] in (
                "security",
                "violation",
            ):
                self.complaints.append(said["params"]["entry"]["text"])
            if said.get("method") == "Page.javascriptDialogOpening":
                self.socket.send(
                    json.dumps({"id": 0, "method": "Page.handleJavaScriptDialog", "params": {"accept": True}})
                )
            if said.get("id") == number:
                assert "error" not in said, f"{method}: {said['error']}"
                return said["result"]

    def run(self, script):
        """The value of an expression in the page; promises are waited for."""
        found = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def open(self, address):
        self.call("Page.navigate", url=address)

    def text(self, name):
        """The words of the element with an id."""
        return self.run(f"document.getElementById({name!r}).textContent.trim()")

    def until(self, script, seconds=WAIT):
        """Wait until an expression in the page is true, and return it."""
        return until(lambda: self.answer(script), seconds, script)

    def answer(self, script):
        """As ``run``; nothing from a page that is being loaded."""
        try:
            return self.run(script)
        except AssertionError as error:
            if "navigated" not in str(error):
                raise
            return None

    def key(self, name, modifiers=0):
        """Press a key and let it go."""
        code = _KEYS.get(name, ord(name.upper()) if len(name) == 1 else 0)
        what = {"key": name, "windowsVirtualKeyCode": code, "modifiers": modifiers}
        text = {"text": name} if len(name) == 1 else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", **what, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", **what)

    def mouse(self, kind, x, y, **more):
        self.call("Input.dispatchMouseEvent", type=f"mouse{kind}", x=x, y=y, button="left", **more)

    def click(self, x, y):
        self.mouse("Pressed", x, y, clickCount=1, buttons=1)
        self.mouse("Released", x, y, clickCount=1)

    def drag(self, start, end, release=True):
        self.mouse("Pressed", *start, clickCount=1, buttons=1)
        for step in range(1, 5):
            at = [a + (b - a) * step / 4 for a, b in zip(start, end, strict=True)]
            self.mouse("Moved", *at, buttons=1)
        if release:
            self.mouse("Released", *end, clickCount=1)

    def touch(self, start, end):
        """One finger, from a place to another."""
        at = [{"x": start[0], "y": start[1]}]
        self.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=at)
        for step in range(1, 5):
            at = [{"x": start[0] + (end[0] - start[0]) * step / 4, "y": start[1] + (end[1] - start[1]) * step / 4}]
            self.call("Input.dispatchTouchEvent", type="touchMove", touchPoints=at)
        self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def size(self, width, height, dark=False, touch=False):
        """The size of the window, its colours, and whether it is used with fingers."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=touch)
        self.call("Emulation.setTouchEmulationEnabled", enabled=touch)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def picture(self, path, full=False):
        """What is seen, as PNG; with ``full`` the whole page."""
        found = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=full)
        path.write_bytes(base64.b64decode(found["data"]))


def until(is_true, seconds=WAIT, what=""):
    """Wait for something to become true, and return it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = is_true()
        if found:
            return found
        time.sleep(0.03)
    raise AssertionError(f"waited {seconds} s in vain {what}")
