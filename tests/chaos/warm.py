"""Imported by the fork server before the first fork: all that a worker would import and compile at its start."""

import faust
import uvloop

import streams.app
import workers.cli
import workers.logs
import workers.push.cli
import workers.push.worker
import workers.web
from workers.run import _compile

_compile()

__all__ = ["faust", "streams", "uvloop", "workers"]
