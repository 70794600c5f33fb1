"""Starts the server, and ends it when standard input ends."""

import sys
import threading

from .server import Server


def main():
    server = Server()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.address, flush=True)
    while sys.stdin.buffer.read1(1 << 16):
        pass
    server.shutdown()


if __name__ == "__main__":
    main()
