"""The replay of recorded seconds: archived entries through the scorer's own Board, gate and model; equal or not, and in what.

It reads PostgreSQL (`course`) and the input archive (`due`, by way of a `feed`) and asks a running model server (`judge`). `sources` says
where these are, `outcome` what it came to; `replays` is the way in. That somebody looked has a leaf for each case.
"""
