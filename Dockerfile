# The demo on a CPU, as a user other than root:
#   docker build -t longva-demo . && docker run --rm -p 7860:7860 longva-demo
#
# For CUDA, build with PyTorch's default wheels and run with the GPUs:
#   docker build --build-arg TORCH_INDEX= -t longva-demo .
#   docker run --rm --gpus all -p 7860:7860 longva-demo
FROM python:3.12-slim
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

WORKDIR /app
COPY requirements.txt constraints.txt ./
RUN pip install --no-cache-dir ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} -r requirements.txt -c constraints.txt

COPY app.py ./
COPY longva_demo longva_demo
COPY examples examples

RUN useradd --create-home longva
USER longva
ENV LONGVA_HOST=0.0.0.0
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:7860/healthz', timeout=4)"]
CMD ["python", "app.py"]
