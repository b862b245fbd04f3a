# Redis from Debian, in the shape of the official image, for machines that reach no image registry.
ARG BASE
FROM ${BASE}
RUN groupadd -r -g 999 redis && useradd -r -u 999 -g redis redis \
    && apt-get update -q && apt-get install -y -q --no-install-recommends redis-server && rm -rf /var/lib/apt/lists/* \
    && install -d -o redis -g redis /data
WORKDIR /data
USER 999:999
CMD ["redis-server"]
