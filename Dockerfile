# medzoo on a CPU, as a user without rights and, where it is run so, without a network.
#
#   docker build -t medzoo .
#   docker run --rm --network none --user "$(id -u)" -v "$PWD:/work" medzoo predict padim-phantom PATH -o answers
FROM python:3.11-slim

# g++ compiles the deformation operator, which a training with augmentation uses.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*

COPY constraints.txt /src/constraints.txt
COPY packages /src/packages

# torch and torchvision are a pair, both of the index of builds for the CPU; all else comes from pip's own.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN cd /src \
    && pip install --no-cache-dir --no-deps --index-url "$TORCH_INDEX" -c constraints.txt torch torchvision \
    && pip install --no-cache-dir -c constraints.txt "./packages/core[dicom,export]" ./packages/landmark \
        ./packages/anomaly ./packages/adversarial ./packages/vlm ./packages/fairness \
    && rm -rf /src

# Any user may run it: caches (the compiled operator, fonts) go where everybody may write, results to /work.
ENV HOME=/home/medzoo HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1
RUN mkdir -p /home/medzoo /work && chmod 1777 /home/medzoo /work
USER 1000:1000
WORKDIR /work
ENTRYPOINT ["medzoo"]
CMD ["--help"]
