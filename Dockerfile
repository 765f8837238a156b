# Two images: "base" measures, "train" trains as well (several GB, with torch). Neither runs as root.
#
#   docker build --target base -t aop-pose .
#   docker run --rm -v "$PWD:/data" --user "$(id -u):$(id -g)" aop-pose predict /data/frames --out /data/results
#
# tests/test_packaging.py runs the same steps where there is no daemon.
FROM python:3.11-slim AS base
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY aop_pose aop_pose
COPY weights weights
COPY datasets/phantom datasets/phantom
RUN python -m pip install --no-cache-dir .
RUN useradd --create-home measurer
USER measurer
# A user of another number has no home: what is fetched goes here.
ENV AOP_POSE_CACHE=/tmp/aop-pose
WORKDIR /data
ENTRYPOINT ["aop-pose"]
CMD ["--help"]

FROM base AS train
USER root
WORKDIR /src
RUN python -m pip install --no-cache-dir '.[train]'
USER measurer
WORKDIR /data
